"""Judging pairs with nothing but the keyboard; what was said is looked up in the database."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement, Project, Skip, Slot
from tests.browser.judging import begin, judge, press, shown_slot, shown_uids, wait_for_next
from tests.makers import make_item, make_prompt

# The very moment the next item can be judged, keys that were meant for the last one arrive.
PRESS_WHEN_PAINTED = """() => {
  const item = document.getElementById("item");
  new MutationObserver(() => {
    if (item.hasAttribute("aria-busy")) return;
    for (const [key, code] of [["7", "Digit7"], ["Enter", "Enter"]])
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true }));
  }).observe(item, { attributes: true, attributeFilter: ["aria-busy"] });
}"""


@pytest.fixture
def items(project):
    return [make_item(project, (f"Left {n}", f"Right {n}")) for n in range(4)]


def current():
    return Judgement.objects.filter(action="judged", replaced_by=None).order_by("id")


def test_a_session_by_keyboard_alone(visit, bob, items):
    page = begin(visit, bob).page
    first = shown_uids(page)
    judge(page, "1", "Enter")
    second = shown_uids(page)
    judge(page, "ArrowRight", "Enter")
    third = shown_uids(page)
    judge(page, "4", "Enter")
    judge(page, "0", "Enter")
    expect(page.get_by_role("heading", name="Nothing left for you")).to_be_visible()

    said = list(current())
    assert [judgement.verdict for judgement in said] == [
        {"ranking": [[first[0]], [first[1]]], "strength": 3},
        {"ranking": [[second[1]], [second[0]]], "strength": 1},
        {"ranking": [sorted(third)]},
        {"both_bad": True},
    ]
    assert said[0].display_order == first
    assert all(judgement.source == "browser" and judgement.seconds > 0 for judgement in said)
    assert Slot.objects.filter(state="done").count() == 4


def test_undo_brings_the_item_back_as_it_was_judged(visit, bob, items):
    page = begin(visit, bob).page
    slot, uids = shown_slot(page), shown_uids(page)
    press(page, "6", "e")
    page.keyboard.type("It is shorter.")
    judge(page, "Enter")
    judge(page, "u")
    assert shown_slot(page) == slot
    expect(page.locator('input[value="b2"]')).to_be_checked()
    expect(page.get_by_label("In your words")).to_have_value("It is shorter.")
    judge(page, "2", "Enter")
    assert [(one.slot_id, one.verdict) for one in current()] == [
        (slot, {"ranking": [[uids[0]], [uids[1]]], "strength": 2, "rationale": "It is shorter."})
    ]
    assert Judgement.objects.count() == 3  # judged, withdrawn, judged again


def test_the_very_last_judgement_can_be_undone(visit, bob, project):
    make_item(project)
    page = begin(visit, bob).page
    slot = shown_slot(page)
    judge(page, "7", "Enter")
    expect(page.get_by_role("heading", name="Nothing left for you")).to_be_visible()
    press(page, "u")
    page.wait_for_selector(f'#item:not([aria-busy]) [data-slot="{slot}"]')
    expect(page.locator('input[value="b3"]')).to_be_checked()
    assert not current().exists()


def test_skip_asks_for_a_reason_and_can_be_undone(visit, bob, items):
    page = begin(visit, bob).page
    slot = shown_slot(page)
    press(page, "k", "ArrowDown", "Enter")
    wait_for_next(page, slot)
    assert Skip.objects.get().reason == "Too long"
    judge(page, "Backspace")
    assert shown_slot(page) == slot
    assert not Skip.objects.exists()


def test_reasons_and_rationale_are_sent(visit, bob, items):
    page = begin(visit, bob).page
    press(page, "3", "e")
    page.keyboard.type("first")
    press(page, "Shift+Enter")
    page.keyboard.type("second line, with keys: 1 7 u k")
    page.get_by_label("Facts").check()
    judge(page, "Enter")
    verdict = current().get().verdict
    assert verdict["rationale"] == "first\nsecond line, with keys: 1 7 u k"
    assert verdict["reasons"] == ["factual"]
    assert verdict["strength"] == 1


def test_a_held_key_does_not_hit_the_next_item(visit, bob, items):
    page = begin(visit, bob).page
    slot = shown_slot(page)
    page.keyboard.press("1")
    page.keyboard.down("Enter")
    for _ in range(30):  # the key repeats while it is held
        page.keyboard.down("Enter")
        page.keyboard.down("1")
        page.wait_for_timeout(10)
    wait_for_next(page, slot)
    expect(page.locator('input[name="choice"]:checked')).to_have_count(0)
    assert current().count() == 1


def test_keys_are_inert_just_after_an_item_was_painted(visit, bob, items):
    page = begin(visit, bob).page
    page.evaluate(PRESS_WHEN_PAINTED)
    judge(page, "1", "Enter")
    expect(page.locator('input[name="choice"]:checked')).to_have_count(0)
    assert current().count() == 1


def test_a_double_submit_is_one_judgement(visit, bob, items):
    page = begin(visit, bob).page
    slot = shown_slot(page)
    page.keyboard.press("2")
    page.evaluate("() => { const f = document.getElementById('dock'); f.requestSubmit(); f.requestSubmit(); }")
    wait_for_next(page, slot)
    assert Judgement.objects.count() == 1


def test_nothing_is_sent_without_a_choice(visit, bob, items):
    page = begin(visit, bob).page
    press(page, "Enter")
    expect(page.locator("#saved")).to_contain_text("choose an answer first")
    assert not Judgement.objects.exists()


def test_a_project_without_ties_offers_none(visit, bob, project, items):
    Project.objects.filter(pk=project.pk).update(allow_ties=False)
    page = begin(visit, bob).page
    press(page, "4")
    expect(page.locator('input[name="choice"]')).to_have_count(7)
    expect(page.locator('input[name="choice"]:checked')).to_have_count(0)


def test_long_conversations_are_folded_and_text_can_be_seen_as_written(visit, bob, project):
    roles = ["user", "assistant"] * 3
    messages = [{"role": role, "content": f"*message* {n}"} for n, role in enumerate([*roles, "user"])]
    make_item(project, ("**bold** `code`", "plain"), prompt=make_prompt(project, messages=messages))
    page = begin(visit, bob).page
    expect(page.get_by_text("message 0")).to_be_hidden()
    press(page, "c")
    expect(page.get_by_text("message 0")).to_be_visible()
    press(page, "m")
    expect(page.locator(".written", has_text="**bold** `code`")).to_be_visible()
    press(page, "m", "g")
    expect(page.get_by_role("heading", name="Guidelines")).to_be_visible()
    press(page, "Escape", "?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


def test_model_names_never_reach_the_page(visit, bob, items):
    page = begin(visit, bob).page
    assert "model 0" not in page.content()
    assert "import" not in page.inner_html("#item")
