"""What the pages look like and say about themselves: phones, dark mode, names, focus, and nothing hostile that runs."""

import pytest
from playwright.sync_api import expect

from annotate.models import Judgement
from tests.browser.judging import SHOWN, begin, shown_slot, wait_for_next
from tests.feedback_site.ui.corpus import PAYLOADS
from tests.makers import make_item, make_prompt

PAGES = ["/", "/projects/answers/", "/projects/answers/judge/", "/projects/new/", "/nothing/here/"]

# Own checks in the manner of axe: what has no name, no label, or an id that another element has.
FAULTS = """() => {
  const faults = [];
  const said = (e) => e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.title || "";
  const name = (e) => said(e).trim()
    || (e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby"))?.textContent);
  const named = "button, a[href], input:not([type=hidden]), select, textarea, summary, dialog, progress";
  for (const e of document.querySelectorAll(named))
    if (!name(e)) faults.push(`no name: ${e.outerHTML.slice(0, 120)}`);
  const ids = Array.from(document.querySelectorAll("[id]"), (e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id twice: ${id}`);
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-controls], [aria-describedby]"))
    for (const attribute of ["aria-labelledby", "aria-controls", "aria-describedby"])
      for (const id of (e.getAttribute(attribute) || "").split(/\\s+/).filter(Boolean))
        if (!document.getElementById(id)) faults.push(`${attribute} of nothing: ${id}`);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
  if (!document.documentElement.lang) faults.push("no language");
  if (document.querySelector("[style], style, [onclick]")) faults.push("inline style or script");
  if (document.querySelector("[tabindex]:not([tabindex='-1'], [tabindex='0'])")) faults.push("positive tabindex");
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) faults.push(`scrolls sideways by ${wide}`);
  return faults;
}"""

SMALL_TARGETS = """() => Array.from(document.querySelectorAll("button, .button, .step, .pill, .side, summary"))
  .filter((e) => e.checkVisibility() && !e.closest("dialog"))
  .map((e) => [e.textContent.trim().slice(0, 30), e.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.width < 36 || box.height < 36))
  .map(([text, box]) => `${text}: ${box.width}x${box.height}`)"""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_every_page_is_labelled_and_fits(visit, alice, project, width, dark):
    make_item(project, ("word " * 300, "x" * 500))
    opened = visit(alice, "/", width=width, height=700, dark=dark)
    faults = {}
    for path in PAGES:
        opened.page.goto(path)
        if path.endswith("/judge/"):
            opened.page.wait_for_selector(SHOWN)
        faults[path] = opened.page.evaluate(FAULTS) + (opened.page.evaluate(SMALL_TARGETS) if width < 600 else [])
    assert {path: found for path, found in faults.items() if found} == {}


def test_a_pair_is_judged_on_a_narrow_phone_by_touch(visit, bob, project):
    for n in range(2):
        make_item(project, (f"Left {n}", f"Right {n}"))
    page = begin(visit, bob, width=360, height=640).page
    slot = shown_slot(page)
    expect(page.get_by_role("region", name="Answer A")).to_be_visible()
    expect(page.get_by_role("region", name="Answer B")).to_be_hidden()
    page.get_by_role("button", name="Answer B").tap()
    expect(page.get_by_role("region", name="Answer B")).to_be_visible()
    expect(page.get_by_role("region", name="Answer A")).to_be_hidden()
    page.get_by_title("B is better", exact=True).tap()
    page.get_by_role("button", name="Submit").tap()
    wait_for_next(page, slot)
    verdict = Judgement.objects.get().verdict
    assert verdict["ranking"][0] == [Judgement.objects.get().display_order[1]]
    expect(page.get_by_role("button", name="Answer A")).to_have_attribute("aria-pressed", "true")


def test_the_corpus_of_attacks_is_only_text(visit, bob, project):
    """One item with every payload on every side; the visit itself fails on dialogs, errors and policy violations."""
    kept = [payload.replace("\x00", "").replace("\ud800", "") for payload in PAYLOADS]  # what an import lets through
    everything = "\n\n".join(kept)
    prompt = make_prompt(project, messages=[{"role": "<script>alert(1)</script>", "content": everything}])
    make_item(project, (everything, everything + "\n\nother"), prompt=prompt)
    project.guidelines = everything
    project.save(update_fields=["guidelines"])
    opened = begin(visit, bob)
    requests: list[str] = []
    opened.page.on("request", lambda request: requests.append(request.url))
    opened.page.keyboard.press("g")
    opened.page.keyboard.press("m")
    opened.page.wait_for_timeout(300)
    origin = opened.page.evaluate("location.origin")
    assert [url for url in requests if not url.startswith((origin, "data:"))] == []
    assert (
        opened.page.locator("#item :is(script:not([type='application/json']), img, iframe, style, form, svg)").count()
        == 0
    )
    expect(opened.page.get_by_role("button", name="Submit")).to_be_enabled()


def test_dark_and_light_follow_the_system_and_the_choice_is_remembered(visit, alice, project):
    page = visit(alice, "/", dark=True).page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(21, 23, 26)"
    page.get_by_label("Account of alice").click()
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate(ground) == "rgb(248, 246, 241)"
    page.goto("/projects/answers/")
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_focus_goes_from_the_skip_link_through_the_answers_to_the_dock(visit, bob, project):
    make_item(project)
    page = begin(visit, bob).page
    page.evaluate("() => { document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0); }")
    page.goto("/projects/answers/judge/")
    page.wait_for_selector(SHOWN)
    page.locator(".skip-link").focus()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    order = []
    for _ in range(16):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.value || document.activeElement.className"
            )
        )
    assert order.index("guidelines-button") < order.index("leave") < order.index("a3") < order.index("why-button")
