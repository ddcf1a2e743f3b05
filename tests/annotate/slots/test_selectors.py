"""What pages read about judging, and what it costs."""

import pytest

from annotate.selectors import current_judgements, own_progress, progress, recent, shown_completions
from annotate.services.judgements import withdraw_judgement
from annotate.services.slots import skip_slot
from tests.annotate.slots.helpers import claim, expire, fresh, left_wins, submit
from tests.annotate.slots.test_submitting import revise
from tests.makers import make_item, make_project

pytestmark = pytest.mark.django_db


def skip(project, annotator):
    slot = claim(project, annotator)
    return skip_slot(slot=slot, annotator=annotator, lease_token=slot.lease_token, reason="too long")


def test_current_judgements_are_the_ends_of_chains_that_are_not_withdrawn(project, ann, ben, alice):
    make_item(project, overlap=2)
    make_item(project, overlap=2)
    revised = submit(claim(project, ann), ann).judgement
    last = revise(revised, ann, {"both_bad": True}).judgement
    undone = submit(claim(project, ben), ben).judgement
    withdraw_judgement(judgement=undone, annotator=ben, source="browser")
    assert list(current_judgements(project)) == [last]
    assert not current_judgements(make_project("other", owner=alice)).exists()


def test_progress_counts_slots_items_and_people(project, ann, ben):
    make_item(project, overlap=2).slots.update(priority=1)
    make_item(project)
    make_item(project).slots.update(state="void")
    two = claim(project, ann)
    submit(two, ann)
    lost = claim(project, ann)
    expire(lost)
    assert (progress(project).open, progress(project).leased) == (2, 0)
    skip(project, ben)
    claim(project, ben)
    now = progress(project)
    assert (now.items, now.open + now.leased, now.done, now.void, now.slots) == (3, 2, 1, 1, 3)
    assert (now.judgements, now.over_quota, now.annotators, now.skips) == (1, 0, 1, 1)
    assert now.fraction == pytest.approx(1 / 3)


def test_an_extra_judgement_is_counted_apart_and_does_not_finish_an_item(project, ann, ben):
    make_item(project)
    lost = claim(project, ann)
    expire(lost)
    claim(project, ben)
    submit(fresh(lost), ann, lease_token=lost.lease_token, verdict=left_wins(lost))
    now = progress(project)
    assert (now.judgements, now.over_quota, now.items_done) == (0, 1, 0)


def test_an_empty_project_has_no_progress(project):
    assert (progress(project).slots, progress(project).fraction) == (0, 0.0)


def test_my_progress_counts_what_i_judged_and_what_is_left_for_me(project, ann, ben):
    for _ in range(4):
        make_item(project, overlap=2)
    submit(claim(project, ann), ann)
    skip(project, ann)
    mine, theirs = own_progress(project, ann), own_progress(project, ben)
    assert (mine.judged, mine.judged_today, mine.left) == (1, 1, 2)
    assert (theirs.judged, theirs.left) == (0, 4)


def test_recent_lists_what_i_may_undo_newest_first(project, ann, ben):
    for _ in range(3):
        make_item(project, overlap=2)
    first = submit(claim(project, ann), ann).judgement
    skipped = skip(project, ann)
    last = submit(claim(project, ann), ann).judgement
    submit(claim(project, ben), ben)
    rows = recent(ann)
    assert [row.id for row in rows] == [last.pk, skipped.pk, first.pk]
    assert [row.what for row in rows] == ["judgement", "skip", "judgement"]
    assert (rows[1].reason, rows[0].verdict) == ("too long", last.verdict)
    assert len(recent(ann, limit=2)) == 2


def test_shown_completions_come_in_display_order_without_their_model(project, ann, django_assert_num_queries):
    make_item(project)
    slot = claim(project, ann)
    with django_assert_num_queries(1):
        shown = shown_completions(slot)
        assert [one.uid for one in shown] == slot.display_order
        assert all("model_name" in one.get_deferred_fields() for one in shown)


def test_pages_cost_the_same_queries_for_few_items_and_for_many(project, ann, ben, django_assert_num_queries):
    for _ in range(12):
        make_item(project)
        submit(claim(project, ann), ann)
    with django_assert_num_queries(4):
        progress(project)
    with django_assert_num_queries(2):
        own_progress(project, ben)
    with django_assert_num_queries(2):
        recent(ann)
