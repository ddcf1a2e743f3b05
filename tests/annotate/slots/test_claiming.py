"""Who gets which slot, and for how long."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.models import Item, Skip, Slot
from annotate.services.leases import LeaseLost, WrongLease
from annotate.services.slots import claim_slot, claimable, heartbeat_slot, release_slot
from tests.annotate.slots.helpers import broken, claim, expire, fresh, submit
from tests.makers import make_annotator, make_item, make_judgement, make_project, uids

pytestmark = pytest.mark.django_db


def test_a_claimed_slot_is_leased_for_the_minutes_of_its_project(project, ann):
    make_item(project)
    slot = claim(project, ann)
    assert (slot.state, slot.annotator_id) == ("leased", ann.pk)
    left = slot.lease_expires_at - timezone.now()
    assert abs(left - timedelta(minutes=project.lease_minutes)) < timedelta(seconds=30)
    assert broken() == []


def test_nothing_is_left_when_somebody_else_holds_the_last_slot(project, ann, ben):
    make_item(project)
    claim(project, ann)
    assert claim_slot(project=project, annotator=ben) is None


def test_a_reload_gets_the_same_lease_again_and_renews_it(project, ann):
    make_item(project)
    make_item(project)
    first = claim(project, ann)
    expire(first)
    again = claim(project, ann)
    assert (again.pk, again.lease_token, again.display_order) == (first.pk, first.lease_token, first.display_order)
    assert again.lease_expires_at > timezone.now()


def test_an_expired_lease_goes_to_whoever_asks_next(project, ann, ben):
    make_item(project)
    lost = claim(project, ann)
    expire(lost)
    won = claim(project, ben)
    assert won.pk == lost.pk
    assert won.lease_token != lost.lease_token
    assert won.annotator_id == ben.pk


def test_urgent_items_come_first(project, ann):
    make_item(project)
    urgent = make_item(project)
    make_item(project)
    urgent.slots.update(priority=5)
    assert claim(project, ann).item_id == urgent.pk


def test_nobody_judges_an_item_twice(project, ann):
    make_item(project, overlap=3)
    submit(claim(project, ann), ann)
    assert claim_slot(project=project, annotator=ann) is None


def test_an_imported_judgement_by_the_same_annotator_counts_as_judged(project, ann):
    item = make_item(project, overlap=2)
    make_judgement(item, ann, {"ranking": [[uid] for uid in uids(item)]})
    assert claim_slot(project=project, annotator=ann) is None


def test_a_judgement_over_quota_counts_as_judged(project, ann, ben):
    make_item(project)
    lost = claim(project, ann)
    expire(lost)
    submit(claim(project, ben), ben)
    assert submit(fresh(lost), ann, lease_token=lost.lease_token, verdict={"both_bad": True}).judgement.over_quota
    Slot.objects.create(item=lost.item, project=project, number=1)
    Item.objects.update(overlap=2)
    assert claim_slot(project=project, annotator=ann) is None


def test_a_skipped_item_is_not_offered_again(project, ann, ben):
    item = make_item(project)
    Skip.objects.create(item=item, annotator=ann)
    assert claim_slot(project=project, annotator=ann) is None
    assert claim(project, ben).item_id == item.pk


def test_slots_of_other_projects_void_slots_and_archived_projects_are_never_given(project, ann, alice):
    other = make_project("other", owner=alice)
    make_item(other)
    make_item(project).slots.update(state="void")
    assert claim_slot(project=project, annotator=ann) is None
    other.archived_at = timezone.now()
    other.save(update_fields=["archived_at"])
    assert claim_slot(project=other, annotator=make_annotator(other, "ann")) is None


def test_an_item_whose_kind_nobody_can_judge_is_not_leased(project, ann):
    make_item(project)
    project.kind = "essay"
    assert claim_slot(project=project, annotator=ann) is None


def test_everybody_gets_a_slot_until_the_overlap_is_reached(project):
    make_item(project, overlap=3)
    people = [make_annotator(project, f"person {n}") for n in range(4)]
    slots = [claim_slot(project=project, annotator=person) for person in people]
    assert sorted(slot.number for slot in slots if slot) == [0, 1, 2]
    assert slots[3] is None


def test_a_heartbeat_renews_the_lease_even_when_it_had_run_out_unnoticed(project, ann):
    make_item(project)
    slot = claim(project, ann)
    expire(slot)
    assert heartbeat_slot(slot=slot, annotator=ann, lease_token=slot.lease_token) > timezone.now()


def test_a_heartbeat_of_a_lost_lease_is_told_so(project, ann, ben):
    make_item(project)
    slot = claim(project, ann)
    expire(slot)
    claim(project, ben)
    with pytest.raises(LeaseLost):
        heartbeat_slot(slot=slot, annotator=ann, lease_token=slot.lease_token)


def test_a_released_slot_is_open_and_releasing_twice_does_no_harm(project, ann, ben):
    make_item(project)
    slot = claim(project, ann)
    release_slot(slot=slot, annotator=ann, lease_token=slot.lease_token)
    assert broken() == []
    theirs = claim(project, ben)
    release_slot(slot=slot, annotator=ann, lease_token=slot.lease_token)
    assert fresh(theirs).annotator_id == ben.pk


@pytest.mark.parametrize("whose", ["nobody's", "somebody else's", "another slot's"])
def test_a_token_that_was_never_given_for_this_slot_opens_nothing(project, ann, ben, whose):
    make_item(project)
    make_item(project)
    slot, other = claim(project, ann), claim(project, ben)
    tokens = {"nobody's": uuid.uuid4(), "somebody else's": other.lease_token, "another slot's": slot.lease_token}
    with pytest.raises(WrongLease):
        release_slot(slot=other if whose == "another slot's" else slot, annotator=ann, lease_token=tokens[whose])
    assert fresh(slot).state == fresh(other).state == "leased"


def test_a_claim_reads_the_waiting_slots_in_the_order_of_their_index(project, ann):
    """However many slots are done, they are not looked at, and nothing is sorted."""
    make_item(project)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = claimable(project=project, annotator=ann)[:1].explain()
    assert "slot_claim" in plan
    assert "TEMP B-TREE" not in plan


def test_a_claim_takes_few_queries_however_many_items_there_are(project, ann, django_assert_max_num_queries):
    for _ in range(30):
        make_item(project)
    with django_assert_max_num_queries(9):
        claim(project, ann)
    with django_assert_max_num_queries(3):
        claim(project, ann)
