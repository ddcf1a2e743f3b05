"""Thumbs up or down, by keys and on a phone."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement
from tests.browser.judging import begin, judge, shown_slot, shown_uids, wait_for_next
from tests.makers import make_item, make_project


@pytest.fixture
def kind(alice, bob):
    project = make_project("kind", owner=alice, kind="binary")
    project.memberships.create(user=bob, role="annotator")
    for n in range(2):
        make_item(project, (f"Answer {n}",))
    return project


def test_thumbs_by_keys(visit, bob, kind):
    page = begin(visit, bob, "kind").page
    (first,) = shown_uids(page)
    judge(page, "ArrowUp", "Enter")
    (second,) = shown_uids(page)
    judge(page, "2", "Enter")
    assert [one.verdict for one in Judgement.objects.order_by("id")] == [
        {"labels": {first: True}},
        {"labels": {second: False}},
    ]


def test_thumbs_by_touch_on_a_narrow_phone(visit, bob, kind):
    page = begin(visit, bob, "kind", width=360, height=640).page
    slot = shown_slot(page)
    page.get_by_text("Bad", exact=True).tap(force=True)
    page.get_by_role("button", name="Submit").tap()
    wait_for_next(page, slot)
    assert list(Judgement.objects.values_list("slot", flat=True)) == [slot]
    assert False in Judgement.objects.get().verdict["labels"].values()
    expect(page.locator("#saved")).to_contain_text("Saved")
