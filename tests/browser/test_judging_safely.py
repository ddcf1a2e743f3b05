"""Nothing that somebody said is lost: no connection, an error, a session that ended, two tabs."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement, Membership, Slot
from tests.browser.judging import SHOWN, begin, judge, press, shown_slot, shown_uids, wait_for_next
from tests.makers import make_item

SUBMISSIONS = "**/judgement/"


@pytest.fixture
def items(project):
    return [make_item(project, (f"Left {n}", f"Right {n}")) for n in range(3)]


def test_a_judgement_made_offline_is_sent_when_the_connection_is_back(visit, bob, items):
    opened = begin(visit, bob)
    page, slot = opened.page, shown_slot(opened.page)
    opened.go_offline()
    press(page, "6", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("1 judgement is waiting")
    expect(page.locator("#saved")).to_have_attribute("data-state", "offline")
    assert not Judgement.objects.exists()
    opened.go_offline(False)
    wait_for_next(page, slot)
    assert Judgement.objects.get().slot_id == slot
    expect(page.get_by_role("alert")).to_be_hidden()


def test_an_error_of_the_site_is_tried_again_with_the_same_submission(visit, bob, items):
    opened = begin(visit, bob)
    page, slot, sent = opened.page, shown_slot(opened.page), []

    def fail_once_after_storing(route):
        sent.append(route.request.post_data_json["submission_id"])
        if len(sent) > 1:
            return route.continue_()
        route.fetch()  # stored, but the answer never arrives
        return route.fulfill(status=502, body="bad gateway")

    page.route(SUBMISSIONS, fail_once_after_storing)
    press(page, "5", "Enter")
    wait_for_next(page, slot)
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert Judgement.objects.count() == 1


def test_what_waits_survives_closing_the_page(visit, bob, items):
    opened = begin(visit, bob)
    slot = shown_slot(opened.page)
    opened.page.route(SUBMISSIONS, lambda route: route.abort())
    press(opened.page, "2", "Enter")
    expect(opened.page.get_by_role("alert")).to_contain_text("1 judgement is waiting")
    opened.page.close()
    page = opened.context.new_page()
    page.goto("/projects/answers/judge/")
    page.wait_for_selector(SHOWN)
    assert Judgement.objects.get().slot_id == slot
    assert shown_slot(page) != slot


def test_a_draft_survives_a_reload(visit, bob, items):
    page = begin(visit, bob).page
    press(page, "3", "e")
    page.keyboard.type("half a thou")
    page.reload()
    page.wait_for_selector(SHOWN)
    expect(page.get_by_label("In your words")).to_have_value("half a thou")
    expect(page.locator('input[value="a1"]')).to_be_checked()


def test_a_session_that_ended_loses_nothing(visit, bob, items):
    opened = begin(visit, bob)
    page, slot = opened.page, shown_slot(opened.page)
    cookies = [cookie for cookie in opened.context.cookies() if cookie["name"] == "session"]
    opened.context.clear_cookies(name="session")
    press(page, "7", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    expect(page.get_by_role("link", name="Sign in in a new tab")).to_be_visible()
    assert not Judgement.objects.exists()
    opened.context.add_cookies(cookies)  # signed in again, in another tab
    page.evaluate("dispatchEvent(new Event('focus'))")
    wait_for_next(page, slot)
    assert Judgement.objects.get().verdict["strength"] == 3


def test_two_tabs_judge_one_item_once(visit, bob, items):
    opened = begin(visit, bob)
    first, second = opened.page, opened.context.new_page()
    second.goto("/projects/answers/judge/")
    second.wait_for_selector(SHOWN)
    second.wait_for_timeout(300)
    slot = shown_slot(first)
    assert shown_slot(second) == slot
    judge(second, "1", "Enter")
    wait_for_next(first, slot)
    assert shown_slot(first) == shown_slot(second)
    assert Judgement.objects.count() == 1


def test_a_lease_that_was_lost_keeps_the_work_as_an_extra(visit, bob, alice, project, items):
    page = begin(visit, bob).page
    slot, uids = shown_slot(page), shown_uids(page)
    from annotate.access import annotator_for

    other = annotator_for(alice, project)
    Slot.objects.filter(pk=slot).update(annotator=other, state="done", lease_token=None, lease_expires_at=None)
    judge(page, "1", "Enter")
    kept = Judgement.objects.get()
    assert kept.over_quota
    assert kept.verdict["ranking"] == [[uids[0]], [uids[1]]]
    expect(page.locator("#saved")).to_contain_text("as an extra")


def test_somebody_who_lost_the_right_to_judge_is_told_and_keeps_the_text(visit, bob, project, items):
    page = begin(visit, bob).page
    press(page, "1", "e")
    page.keyboard.type("my careful words")
    Membership.objects.filter(project=project, user=bob).update(role="viewer")
    press(page, "Enter")
    expect(page.get_by_role("alert")).to_contain_text("viewer")
    expect(page.get_by_label("In your words")).to_have_value("my careful words")
    assert not Judgement.objects.exists()
