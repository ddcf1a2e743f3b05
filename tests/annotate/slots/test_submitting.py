"""What is stored when a judgement is sent, sent again, or sent late."""

import uuid

import pytest

from annotate.models import Completion, Judgement, Slot
from annotate.services.judgements import revise_judgement
from annotate.services.leases import AlreadyJudged, NotCurrent, SubmissionReused, WrongLease
from annotate.services.slots import release_slot
from annotate.tasktypes import VerdictError
from tests.annotate.slots.helpers import broken, claim, expire, fresh, left_wins, submit
from tests.makers import make_item

pytestmark = pytest.mark.django_db


@pytest.fixture
def slot(project, ann):
    make_item(project)
    return claim(project, ann)


@pytest.fixture
def lost(slot, project, ben):
    """A slot as ann still sees it, after her lease ran out and ben got it."""
    expire(slot)
    claim(project, ben)
    return slot


def test_a_judgement_fills_its_slot_and_keeps_what_was_shown(slot, ann):
    judgement = submit(slot, ann).judgement
    assert (judgement.slot_id, judgement.over_quota, judgement.replaces) == (slot.pk, False, None)
    assert judgement.display_order == slot.display_order
    assert (fresh(slot).state, fresh(slot).lease_token) == ("done", None)
    assert broken() == []


def test_a_replayed_submission_returns_the_stored_judgement(slot, ann):
    same = {"submission_id": uuid.uuid4(), "verdict": left_wins(slot)}
    first, second = submit(slot, ann, **same), submit(slot, ann, **same)
    assert (first.replay, second.replay) == (False, True)
    assert first.judgement == second.judgement
    assert Judgement.objects.count() == 1


def test_a_replay_is_recognised_after_the_slot_has_moved_on(slot, ann, ben, project):
    same = {"submission_id": uuid.uuid4(), "verdict": left_wins(slot)}
    stored = submit(slot, ann, **same).judgement
    Slot.objects.filter(pk=slot.pk).update(annotator=ben)
    assert submit(slot, ann, **same).judgement == stored


@pytest.mark.parametrize("change", [{"seconds": 9.0}, {"verdict": {"both_bad": True}}])
def test_another_payload_under_the_same_id_is_refused(slot, ann, change):
    same = {"submission_id": uuid.uuid4(), "verdict": left_wins(slot)}
    submit(slot, ann, **same)
    with pytest.raises(SubmissionReused):
        submit(slot, ann, **same | change)
    assert Judgement.objects.get().verdict == left_wins(slot)


def test_the_same_id_from_somebody_else_is_refused_and_shows_them_nothing(slot, ann, ben):
    same = {"submission_id": uuid.uuid4(), "verdict": left_wins(slot)}
    submit(slot, ann, **same)
    with pytest.raises(SubmissionReused):
        submit(slot, ben, **same)


def test_a_lost_lease_still_stores_the_work_and_leaves_the_slot_to_the_other(lost, ann, ben):
    late = submit(fresh(lost), ann, lease_token=lost.lease_token, verdict=left_wins(lost)).judgement
    assert late.over_quota
    assert late.display_order == lost.display_order
    assert fresh(lost).annotator_id == ben.pk
    submit(fresh(lost), ben)
    assert Judgement.objects.filter(over_quota=False).get().annotator == ben
    assert broken() == []


def test_an_expired_lease_that_nobody_took_counts(slot, ann):
    expire(slot)
    assert not submit(slot, ann).judgement.over_quota
    assert broken() == []


def test_work_sent_after_the_slot_was_released_fills_it_if_it_is_still_open(slot, ann):
    release_slot(slot=slot, annotator=ann, lease_token=slot.lease_token)
    assert not submit(slot, ann).judgement.over_quota
    assert broken() == []


def test_late_work_fills_another_slot_that_is_held_on_the_same_item(project, ann, ben):
    make_item(project, overlap=2)
    first = claim(project, ann)
    expire(first)
    assert claim(project, ben) == first
    second = claim(project, ann)
    assert second.item_id == first.item_id
    late = submit(fresh(first), ann, lease_token=first.lease_token, verdict=left_wins(first)).judgement
    assert (late.slot_id, late.over_quota) == (second.pk, False)
    assert broken() == []


def test_a_second_answer_to_the_same_item_from_another_tab_is_refused(slot, ann):
    submit(slot, ann)
    with pytest.raises(AlreadyJudged):
        submit(fresh(slot), ann, lease_token=slot.lease_token, verdict={"both_bad": True})
    assert Judgement.objects.count() == 1


def test_a_token_of_another_slot_stores_nothing(project, ann, ben):
    make_item(project)
    make_item(project)
    mine, theirs = claim(project, ann), claim(project, ben)
    with pytest.raises(WrongLease):
        submit(theirs, ann, lease_token=mine.lease_token)
    assert not Judgement.objects.exists()


def test_a_bad_verdict_keeps_the_lease_so_that_it_can_be_sent_again(slot, ann):
    with pytest.raises(VerdictError, match="ranking"):
        submit(slot, ann, verdict={"strength": 2})
    assert fresh(slot).lease_token == slot.lease_token
    assert not submit(slot, ann).judgement.over_quota


def test_an_edit_becomes_a_completion_by_the_annotator(slot, ann):
    edit = {"completion": slot.display_order[0], "text": "A better answer."}
    submit(slot, ann, verdict=left_wins(slot) | {"edit": edit})
    made = Completion.objects.get(text="A better answer.")
    assert (made.source, made.author, made.prompt) == ("human", ann, slot.item.prompt)
    assert made.metadata == {"edit_of": slot.display_order[0]}
    assert broken() == []


@pytest.mark.parametrize("text", ["", "  ", "A fine answer."])
def test_an_edit_that_says_nothing_new_is_refused(slot, ann, text):
    uid = Completion.objects.get(text="A fine answer.").uid
    with pytest.raises(VerdictError, match="correction"):
        submit(slot, ann, verdict=left_wins(slot) | {"edit": {"completion": uid, "text": text}})
    assert not Judgement.objects.exists()


def test_a_span_beyond_its_completion_is_refused(slot, ann):
    span = {"completion": slot.display_order[0], "start": 3, "end": 300, "label": "untrue"}
    with pytest.raises(VerdictError, match="300"):
        submit(slot, ann, verdict=left_wins(slot) | {"spans": [span]})


def revise(judgement, annotator, verdict, submission_id=None):
    return revise_judgement(
        judgement=judgement,
        annotator=annotator,
        submission_id=submission_id or uuid.uuid4(),
        verdict=verdict,
        seconds=None,
        source="browser",
    )


def test_a_revision_takes_the_place_of_the_judgement_and_keeps_it_in_the_chain(slot, ann):
    first = submit(slot, ann).judgement
    same = uuid.uuid4()
    revised = revise(first, ann, {"both_bad": True}, same)
    assert revised.judgement.replaces == first
    assert revised.judgement.slot_id == slot.pk
    assert revise(first, ann, {"both_bad": True}, same).replay
    assert broken() == []


def test_of_two_revisions_of_one_judgement_the_first_is_kept(slot, ann):
    first = submit(slot, ann).judgement
    kept = revise(first, ann, {"both_bad": True}).judgement
    with pytest.raises(NotCurrent):
        revise(first, ann, left_wins(slot) | {"strength": 1})
    assert Judgement.objects.get(replaced_by=None) == kept


def test_submitting_takes_at_most_eight_queries(slot, ann, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        submit(slot, ann)
