"""Skips, and taking back what was said or skipped."""

import pytest
from django.core.exceptions import PermissionDenied

from annotate.models import Judgement, Skip, Slot
from annotate.selectors import current_judgements
from annotate.services.judgements import withdraw_judgement
from annotate.services.leases import AlreadyJudged, NotCurrent
from annotate.services.slots import claim_slot, release_slot, skip_slot, undo_skip
from tests.annotate.slots.helpers import broken, claim, expire, fresh, left_wins, submit
from tests.annotate.slots.test_submitting import revise
from tests.makers import make_item

pytestmark = pytest.mark.django_db


def withdraw(judgement, annotator):
    return withdraw_judgement(judgement=judgement, annotator=annotator, source="browser")


def skip(slot, annotator, reason=""):
    return skip_slot(slot=slot, annotator=annotator, lease_token=slot.lease_token, reason=reason)


def test_a_skipped_slot_is_open_for_others_and_the_reason_is_kept(project, ann, ben):
    make_item(project)
    slot = claim(project, ann)
    assert skip(slot, ann, "too long").reason == "too long"
    assert claim_slot(project=project, annotator=ann) is None
    assert claim(project, ben) == slot
    assert broken() == []


def test_skipping_twice_is_skipping_once(project, ann, ben):
    make_item(project)
    slot = claim(project, ann)
    skip(slot, ann)
    theirs = claim(project, ben)
    skip(slot, ann)
    assert Skip.objects.count() == 1
    assert fresh(theirs).annotator_id == ben.pk


def test_a_judged_item_cannot_be_skipped(project, ann):
    make_item(project)
    slot = claim(project, ann)
    submit(slot, ann)
    with pytest.raises(AlreadyJudged):
        skip(slot, ann)
    assert broken() == []


def test_an_answer_from_an_older_tab_takes_the_skip_back(project, ann):
    make_item(project)
    slot = claim(project, ann)
    skip(slot, ann)
    judged = submit(fresh(slot), ann, lease_token=slot.lease_token, verdict=left_wins(slot)).judgement
    assert not Skip.objects.exists()
    assert withdraw(judged, ann).pk == slot.pk
    assert broken() == []


def test_undoing_a_skip_leases_the_item_again(project, ann):
    make_item(project)
    slot = claim(project, ann)
    skipped = skip(slot, ann)
    again = undo_skip(skip=skipped, annotator=ann)
    assert (again.pk, again.display_order) == (slot.pk, slot.display_order)
    assert not Skip.objects.exists()
    assert broken() == []


def test_undoing_a_skip_gives_back_the_item_that_came_next(project, ann):
    make_item(project)
    make_item(project)
    slot = claim(project, ann)
    skipped = skip(slot, ann)
    following = claim(project, ann)
    assert undo_skip(skip=skipped, annotator=ann) == slot
    assert fresh(following).state == "open"


def test_undoing_a_skip_that_others_have_taken_up_keeps_what_one_holds(project, ann, ben):
    make_item(project)
    skipped = skip(claim(project, ann), ann)
    claim(project, ben)
    make_item(project)
    following = claim(project, ann)
    assert undo_skip(skip=skipped, annotator=ann) is None
    assert fresh(following).annotator_id == ann.pk
    assert not Skip.objects.exists()


def test_undo_appends_a_withdrawal_and_leases_the_slot_to_the_same_annotator(project, ann, ben):
    make_item(project)
    slot = claim(project, ann)
    judgement = submit(slot, ann).judgement
    again = withdraw(judgement, ann)
    assert (again.pk, again.display_order, again.annotator_id) == (slot.pk, slot.display_order, ann.pk)
    assert Judgement.objects.get(replaces=judgement).action == "withdrawn"
    assert not current_judgements(project).exists()
    assert claim_slot(project=project, annotator=ben) is None
    assert broken() == []


def test_judging_again_after_an_undo_continues_the_chain(project, ann):
    make_item(project)
    first = submit(claim(project, ann), ann).judgement
    again = withdraw(first, ann)
    second = submit(again, ann, verdict={"both_bad": True}).judgement
    assert second.replaces.replaces == first
    assert list(current_judgements(project)) == [second]
    assert broken() == []


def test_undoing_twice_is_undoing_once(project, ann):
    make_item(project)
    judgement = submit(claim(project, ann), ann).judgement
    first, second = withdraw(judgement, ann), withdraw(judgement, ann)
    assert (first.pk, first.lease_token) == (second.pk, second.lease_token)
    assert Judgement.objects.count() == 2


def test_undo_gives_back_the_item_that_came_next(project, ann):
    make_item(project)
    make_item(project)
    judgement = submit(claim(project, ann), ann).judgement
    following = claim(project, ann)
    withdraw(judgement, ann)
    assert fresh(following).state == "open"
    assert broken() == []


def test_an_item_given_up_after_an_undo_can_be_judged_by_others_or_again(project, ann, ben):
    make_item(project)
    again = withdraw(submit(claim(project, ann), ann).judgement, ann)
    release_slot(slot=again, annotator=ann, lease_token=again.lease_token)
    submit(claim(project, ben), ben)
    assert claim_slot(project=project, annotator=ann) is None
    late = submit(fresh(again), ann, lease_token=again.lease_token, verdict=left_wins(again)).judgement
    assert late.over_quota
    assert broken() == []


def test_undo_of_a_judgement_over_quota_leaves_the_slot_to_the_other(project, ann, ben):
    make_item(project)
    lost = claim(project, ann)
    expire(lost)
    submit(claim(project, ben), ben)
    extra = submit(fresh(lost), ann, lease_token=lost.lease_token, verdict=left_wins(lost)).judgement
    assert withdraw(extra, ann) is None
    assert Slot.objects.get().annotator == ben
    assert broken() == []


def test_a_revised_judgement_is_not_the_one_to_undo(project, ann):
    make_item(project)
    first = submit(claim(project, ann), ann).judgement
    revise(first, ann, {"both_bad": True})
    with pytest.raises(NotCurrent):
        withdraw(first, ann)
    assert broken() == []


def test_nobody_undoes_for_somebody_else(project, ann, ben):
    make_item(project)
    judgement = submit(claim(project, ann), ann).judgement
    make_item(project)
    skipped = skip(claim(project, ann), ann)
    with pytest.raises(PermissionDenied):
        withdraw(judgement, ben)
    with pytest.raises(PermissionDenied):
        undo_skip(skip=skipped, annotator=ben)
