"""Any sequence of claims, answers, skips, undos and expiries leaves nothing broken (a Hypothesis state machine)."""

import uuid

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from annotate.models import Judgement, Skip, Slot
from annotate.selectors import current_judgements, progress
from annotate.services.judgements import withdraw_judgement
from annotate.services.leases import AlreadyJudged, LeaseLost, NotCurrent
from annotate.services.slots import claim_slot, heartbeat_slot, lease_of, release_slot, skip_slot, undo_skip
from tests.annotate.slots.helpers import broken, expire, fresh, left_wins, submit
from tests.annotate.slots.test_submitting import revise
from tests.makers import make_annotator, make_item, make_project

who = st.integers(0, 2)


class Judging(RuleBasedStateMachine):
    """Three annotators, three items with an overlap of two. Each keeps every lease they ever got, as open tabs do."""

    def __init__(self) -> None:
        super().__init__()
        self.everything = transaction.atomic()
        self.everything.__enter__()
        self.project = make_project(f"p{uuid.uuid4().hex}", overlap=2)
        for _ in range(3):
            make_item(self.project)
        self.people = [make_annotator(self.project, f"person {n}") for n in range(3)]
        self.tabs: list[list[Slot]] = [[], [], []]
        self.sent: list[tuple[int, Slot, dict]] = []

    @rule(n=who)
    def claim(self, n):
        slot = claim_slot(project=self.project, annotator=self.people[n])
        if slot is not None:
            assert slot.annotator_id == self.people[n].pk
            self.tabs[n].append(slot)

    @rule(n=who, tab=st.integers(0, 9))
    def answer(self, n, tab):
        """From any tab, however old: stored, as an extra if need be, unless this person has answered already."""
        if not self.tabs[n]:
            return
        slot = self.tabs[n][tab % len(self.tabs[n])]
        same = {"submission_id": uuid.uuid4(), "lease_token": slot.lease_token, "verdict": left_wins(slot)}
        said = current_judgements(self.project).filter(item=slot.item_id, annotator=self.people[n]).exists()
        try:
            submitted = submit(fresh(slot), self.people[n], **same)
        except AlreadyJudged:
            assert said
        else:
            assert submitted.judgement.display_order == slot.display_order
            self.sent.append((n, slot, same))

    @rule(which=st.integers(0, 30))
    def answer_again(self, which):
        if self.sent:
            n, slot, same = self.sent[which % len(self.sent)]
            assert submit(fresh(slot), self.people[n], **same).replay

    @rule(n=who, tab=st.integers(0, 9))
    def skip(self, n, tab):
        if self.tabs[n]:
            slot = self.tabs[n][tab % len(self.tabs[n])]
            try:
                skip_slot(slot=slot, annotator=self.people[n], lease_token=slot.lease_token)
            except AlreadyJudged:
                assert current_judgements(self.project).filter(item=slot.item_id, annotator=self.people[n]).exists()

    @rule(n=who, tab=st.integers(0, 9))
    def release(self, n, tab):
        if self.tabs[n]:
            slot = self.tabs[n][tab % len(self.tabs[n])]
            release_slot(slot=slot, annotator=self.people[n], lease_token=slot.lease_token)

    @rule(n=who)
    def let_the_lease_run_out(self, n):
        if held := lease_of(project=self.project, annotator=self.people[n]):
            expire(held)

    @rule(n=who)
    def beat(self, n):
        if self.tabs[n]:
            slot = self.tabs[n][-1]
            held = lease_of(project=self.project, annotator=self.people[n])
            try:
                heartbeat_slot(slot=slot, annotator=self.people[n], lease_token=slot.lease_token)
            except LeaseLost:
                assert held is None or held.lease_token != slot.lease_token

    @rule(which=st.integers(0, 30))
    def undo(self, which):
        judged = list(Judgement.objects.filter(project=self.project, action="judged"))
        if judged:
            judgement = judged[which % len(judged)]
            n = self.people.index(judgement.annotator)
            try:
                slot = withdraw_judgement(judgement=judgement, annotator=self.people[n], source="browser")
            except NotCurrent:
                return
            if slot is not None:
                self.tabs[n].append(slot)

    @rule(which=st.integers(0, 30))
    def change_of_mind(self, which):
        current = list(current_judgements(self.project))
        if current:
            judgement = current[which % len(current)]
            revise(judgement, judgement.annotator, {"both_bad": True})

    @rule(n=who)
    def undo_a_skip(self, n):
        skip = Skip.objects.filter(annotator=self.people[n]).first()
        if skip is not None and (slot := undo_skip(skip=skip, annotator=self.people[n])):
            self.tabs[n].append(slot)

    @invariant()
    def nothing_is_broken(self):
        assert broken() == []
        now = progress(self.project)
        assert now.judgements == now.done <= now.slots == 6

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.everything.__exit__(None, None, None)


@pytest.mark.django_db
def test_whatever_annotators_do_nothing_breaks():
    run_state_machine_as_test(
        Judging,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
