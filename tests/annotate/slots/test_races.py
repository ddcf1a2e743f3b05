"""Many annotators at once, on real connections. What the guard of a claim prevents is shown to happen without it."""

import queue
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Count, F, Q
from django.utils import timezone
from rest_framework.test import APIClient

from annotate.access import annotator_for
from annotate.models import Item, Judgement, Slot
from annotate.services import slots
from annotate.services.judgements import withdraw_judgement
from annotate.services.leases import AlreadyJudged, LeaseLost
from annotate.services.slots import claim_slot, heartbeat_slot
from feedback_site.accounts.tokens import create_token
from tests.annotate.slots.helpers import at_once, broken, claim, expire, fresh, left_wins, submit
from tests.makers import make_annotator, make_item, make_project, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(transactional_db):
    return make_project("answers")


def people_of(project, count):
    return [make_annotator(project, f"person {n}") for n in range(count)]


def serve(project, waiting):
    """Claim and submit for one annotator after the other, every third time sending twice, until nothing is left."""
    sent = []
    while True:
        try:
            annotator = waiting.get_nowait()
        except queue.Empty:
            return sent
        if slot := claim_slot(project=project, annotator=annotator):
            same = {"submission_id": uuid.uuid4(), "verdict": left_wins(slot)}
            for _ in range(2 if slot.pk % 3 == 0 else 1):
                submit(slot, annotator, **same)
            sent.append(same["submission_id"])
            waiting.put(annotator)


def race(project, *, items, overlap, people):
    """All judge at once until nothing is left, over as many connections as a web server may have open.

    Returns the submissions that each connection served, or what stopped it.
    """
    for _ in range(items):
        make_item(project, overlap=overlap)
    waiting = queue.Queue()
    for person in people_of(project, people):
        waiting.put(person)
    return at_once([lambda: serve(project, waiting)] * min(people, 32))


def oversubscribed():
    """Items that more people judged than were to, extras included."""
    return Item.objects.annotate(n=Count("judgements__annotator", distinct=True)).filter(n__gt=F("overlap")).count()


def pause_before_leasing(monkeypatch, *, guarded):
    """Time passes between looking for a slot and leasing it, so that others are sure to look as well."""
    lease = slots.lease

    def late(*, slot, annotator, guard):
        time.sleep(0.02)
        return lease(slot=slot, annotator=annotator, guard=guard if guarded else Q())

    monkeypatch.setattr(slots, "lease", late)
    if not guarded:
        monkeypatch.setattr(slots, "_locked", lambda rows, *, wait: rows)


def test_parallel_annotators_fill_every_slot_once_and_lose_nothing(project):
    items, overlap, people = (100, 4, 100) if connection.vendor == "postgresql" else (50, 4, 20)
    sent = race(project, items=items, overlap=overlap, people=people)
    assert [error for error in sent if isinstance(error, Exception)] == []
    stored = set(Judgement.objects.values_list("submission_id", flat=True))
    assert stored == {submission for one in sent for submission in one}
    assert len(stored) == items * overlap == Slot.objects.filter(state="done").count()
    assert not Judgement.objects.filter(over_quota=True).exists()
    assert oversubscribed() == 0
    assert broken() == []


@pytest.mark.parametrize("guarded", [False, True])
def test_only_the_guard_of_a_claim_keeps_items_within_their_overlap(project, monkeypatch, guarded):
    """The same race with a pause at the racy point: oversubscribed without the guard, and not with it."""
    pause_before_leasing(monkeypatch, guarded=guarded)
    race(project, items=8, overlap=2, people=6)
    if guarded:
        assert (oversubscribed(), broken()) == (0, [])
    else:
        assert oversubscribed() > 0


def test_one_annotator_claiming_from_twenty_tabs_holds_one_lease(project):
    for _ in range(25):
        make_item(project)
    [ann] = people_of(project, 1)
    got = at_once([lambda: claim_slot(project=project, annotator=ann)] * 20)
    assert {(slot.pk, slot.lease_token) for slot in got} == {(got[0].pk, got[0].lease_token)}
    assert Slot.objects.filter(state="leased").count() == 1


def test_a_click_sent_twenty_times_at_once_is_stored_once_and_answered_alike(project):
    make_item(project)
    bob = make_user("bob")
    project.memberships.create(user=bob, role="annotator")
    _, secret = create_token(user=bob, name="test", scopes=["annotate"])
    slot = claim(project, annotator_for(bob, project))
    body = {
        "submission_id": str(uuid.uuid4()),
        "lease_token": str(slot.lease_token),
        "verdict": left_wins(slot),
        "seconds": 3,
    }

    def click():
        api = APIClient(headers={"Authorization": f"Bearer {secret}"})
        return api.post(f"/api/v1/slots/{slot.pk}/judgement/", body, format="json")

    answers = at_once([click] * 20)
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert Judgement.objects.count() == 1


def test_two_tabs_that_answer_differently_at_once_store_one_answer(project):
    [ann] = people_of(project, 1)
    for _ in range(5):
        make_item(project)
        slot = claim(project, ann)
        outcome = at_once([lambda slot=slot: submit(slot, ann), lambda slot=slot: submit(slot, ann)])
        assert sorted(type(one).__name__ for one in outcome) == [AlreadyJudged.__name__, "Submitted"]
    assert broken() == []


def test_a_lease_that_ends_as_its_work_is_sent_is_either_accepted_or_reassigned(project):
    ann, ben = people_of(project, 2)
    for _ in range(10):
        make_item(project)
        slot = claim(project, ann)
        expire(slot)
        stale = fresh(slot)
        sent, claimed = at_once(
            [lambda stale=stale: submit(stale, ann), lambda: claim_slot(project=project, annotator=ben)]
        )
        assert sent.judgement.over_quota == (claimed is not None)
        if claimed is not None:
            submit(claimed, ben)
    assert broken() == []


def test_a_heartbeat_and_a_claim_of_an_expired_lease_have_one_winner(project):
    ann, ben = people_of(project, 2)
    for _ in range(10):
        make_item(project)
        slot = claim(project, ann)
        expire(slot)
        beat, claimed = at_once(
            [
                lambda slot=slot: heartbeat_slot(slot=slot, annotator=ann, lease_token=slot.lease_token),
                lambda: claim_slot(project=project, annotator=ben),
            ]
        )
        assert isinstance(beat, LeaseLost) == (claimed is not None)
        Slot.objects.update(state="void", annotator=None)


def test_two_undos_at_once_withdraw_once(project):
    [ann] = people_of(project, 1)
    make_item(project)
    judgement = submit(claim(project, ann), ann).judgement
    undo = [lambda: withdraw_judgement(judgement=judgement, annotator=ann, source="browser")] * 8
    assert {slot.pk for slot in at_once(undo)} == {judgement.slot_id}
    assert Judgement.objects.filter(action="withdrawn").count() == 1
    assert broken() == []


def test_a_reader_sees_a_judgement_before_or_after_its_undo_and_never_half(project):
    """Slot and judgement agree in every single statement that reads both, while one side keeps undoing."""
    [ann] = people_of(project, 1)
    make_item(project)
    first = submit(claim(project, ann), ann).judgement
    until = timezone.now() + timedelta(seconds=1)

    def write():
        judgement, turns = first, 0
        while timezone.now() < until:
            judgement = submit(withdraw_judgement(judgement=judgement, annotator=ann, source="browser"), ann).judgement
            turns += 1
        return turns

    def read():
        seen = set()
        counted = Count("judgements", filter=Q(judgements__action="judged", judgements__replaced_by=None))
        while timezone.now() < until:
            seen.add(Slot.objects.annotate(counted=counted).values_list("state", "counted").get())
        return seen

    turns, seen, more = at_once([write, read, read])
    assert turns > 0
    assert seen | more <= {("done", 1), ("leased", 0)}
    assert broken() == []
