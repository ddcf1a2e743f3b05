"""Judging pairs with nothing but the keyboard; what was said is looked up in the database."""

import pytest
from playwright.sync_api import Page, expect

from annotate.models import Judgement, Skip, Slot
from tests.makers import make_item

JUDGE = "/projects/answers/judge/"


@pytest.fixture
def items(project):
    return [make_item(project, (f"Left {n}", f"Right {n}")) for n in range(4)]


def shown_uids(page: Page) -> list[str]:
    import json

    return json.loads(page.get_attribute("[data-slot]", "data-uids"))


def press_for_next(page: Page, *keys: str) -> None:
    """Type, then wait until another item is there and its keys are live."""
    before = page.get_attribute("[data-slot]", "data-slot")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_selector(f'#item:not([aria-busy]) >> :is([data-slot]:not([data-slot="{before}"]), .empty)')
    page.wait_for_timeout(300)


def begin(visit, user, **window):
    opened = visit(user, JUDGE, **window)
    opened.page.wait_for_selector("#item:not([aria-busy]) [data-slot]")
    opened.page.wait_for_timeout(300)
    return opened


def test_a_session_by_keyboard_alone(visit, bob, items):
    page = begin(visit, bob).page
    first = shown_uids(page)
    press_for_next(page, "1", "Enter")
    second = shown_uids(page)
    press_for_next(page, "ArrowRight", "Enter")
    third = shown_uids(page)
    press_for_next(page, "4", "Enter")
    press_for_next(page, "0", "Enter")
    expect(page.get_by_role("heading", name="Nothing left for you")).to_be_visible()

    said = list(Judgement.objects.order_by("id"))
    assert [judgement.verdict for judgement in said] == [
        {"ranking": [[first[0]], [first[1]]], "strength": 3},
        {"ranking": [[second[1]], [second[0]]], "strength": 1},
        {"ranking": [sorted(third)]},
        {"both_bad": True},
    ]
    assert said[0].display_order == first
    assert all(judgement.source == "browser" and judgement.seconds > 0 for judgement in said)
    assert Slot.objects.filter(state="done").count() == 4
