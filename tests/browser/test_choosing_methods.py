"""Finding a method among many, with and without the script, on a phone and in the dark."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_looks import FAULTS, SMALL_TARGETS
from training.engine.losses import LOSSES
from training.models import Model

CHOOSER = "/projects/answers/runs/new/"


@pytest.fixture
def policy(project) -> Model:
    return Model.objects.create(project=project, name="base", kind="policy", folder="models/base")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_pages_of_methods_are_labelled_and_fit(visit, alice, policy, width, dark):
    policy.project.datasets.create(name="pairs", kind="pairwise").versions.create(
        number=1, recipe={}, status="ready", sha256="f" * 64, folder="datasets/1/v1",
        counts={"rows": {"train": 9, "validation": 1, "test": 0}},
    )  # fmt: skip
    page = visit(alice, CHOOSER, width=width, height=700, dark=dark).page
    page.locator("summary").last.click()
    found = {}
    for path in (CHOOSER, f"{CHOOSER}f_dpo/", f"{CHOOSER}kto/"):
        if path != CHOOSER:
            page.goto(path)
        found[path] = page.evaluate(FAULTS) + (page.evaluate(SMALL_TARGETS) if width < 600 else [])
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_typing_leaves_the_methods_that_say_all_of_the_words(visit, alice, project):
    page = visit(alice, CHOOSER).page
    field = page.get_by_label("Find a method")
    field.fill("2305.18290")
    expect(page.get_by_role("link", name="Direct preference optimisation")).to_be_visible()
    expect(page.get_by_role("heading", name="Reward models")).to_be_hidden()
    expect(page.get_by_role("status").first).to_contain_text(f"of {len(LOSSES)}")
    field.fill("2305.18290 alchemy")
    expect(page.get_by_role("heading", name="No method says that")).to_be_visible()
    field.fill("")
    expect(page.get_by_role("heading", name="Reward models")).to_be_visible()


def test_without_the_script_every_method_is_there_and_no_field_that_does_nothing(visit, alice, project):
    opened = visit(alice, "/")
    opened.page.route("**/js/filter*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    opened.page.goto(CHOOSER)
    expect(opened.page.locator("#methods li")).to_have_count(len(LOSSES))
    expect(opened.page.get_by_label("Find a method")).to_be_hidden()


def test_formula_and_paper_open_without_leaving_the_page(visit, alice, project):
    page = visit(alice, CHOOSER).page
    card = page.locator("#methods li").filter(has=page.locator("code", has_text="simpo"))
    card.locator("summary").click()
    expect(card.get_by_text("2405.14734")).to_be_visible()
    assert page.url.endswith(CHOOSER)
