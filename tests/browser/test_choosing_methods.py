"""Finding a method among many, with and without the script, on a phone and in the dark."""

import json

import pytest
from playwright.sync_api import expect

from exports.models import DatasetVersion
from tests.browser.test_looks import FAULTS, SMALL_TARGETS
from training.engine.losses import LOSSES
from training.models import Model
from training.services.runs import start_run

CHOOSER = "/projects/answers/runs/new/"


@pytest.fixture
def policy(project) -> Model:
    return Model.objects.create(project=project, name="base", kind="policy", folder="models/base")


@pytest.fixture
def pairs(project) -> DatasetVersion:
    return project.datasets.create(name="pairs", kind="pairwise").versions.create(
        number=1, recipe={}, status="ready", sha256="f" * 64, folder="datasets/1/v1",
        counts={"rows": {"train": 9, "validation": 1, "test": 0}},
    )  # fmt: skip


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_pages_of_methods_are_labelled_and_fit(visit, alice, policy, pairs, width, dark):
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


def test_a_folded_setting_that_the_browser_refuses_unfolds(visit, alice, policy, pairs):
    page = visit(alice, f"{CHOOSER}dpo/").page
    fold = page.get_by_text("More settings")
    fold.click()
    page.get_by_label("Warm-up").fill("5")
    fold.click()
    expect(page.get_by_label("Warm-up")).to_be_hidden()
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_label("Warm-up")).to_be_focused()


def test_what_the_server_refuses_is_named_at_the_top_and_linked(visit, alice, policy, pairs):
    page = visit(alice, f"{CHOOSER}dpo/").page
    page.get_by_text("More settings").click()
    page.get_by_label("Further losses").fill("0.2*alchemy")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("alert").get_by_role("link", name="Further losses").click()
    expect(page.get_by_label("Further losses")).to_be_in_viewport()
    expect(page.get_by_label("Further losses")).to_have_value("0.2*alchemy")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_the_pages_of_runs_are_labelled_and_fit(visit, alice, policy, pairs, data_dir, width, dark):
    runs = [
        start_run(project=policy.project, task="train", method=method, model=policy, dataset_version=pairs)
        for method in ("dpo", "simpo")
    ]
    group = {"n": 30, "accuracy": 0.5, "accuracy_low": 0.3, "accuracy_high": 0.7}
    measured = group | {"loss": 0.7, "ece": 0.1, "slices": {"chosen_longer": group, f"group:{'x' * 60}": group}}
    measured["aspects"] = {"y" * 60: {"n": 30, "rmse": 0.5, "correlation": 0.2}}
    for run in runs:
        (data_dir / run.folder / "out").mkdir(parents=True)
        lines = ({"step": n, "metrics": {"loss": 1 / n, "margin": n / 9}} for n in range(1, 40))
        (data_dir / run.folder / "out/progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        checks = [{"name": "train.too_long", "level": "warning", "message": "z" * 300}]
        run.result = {"eval": {"validation": measured}, "checks": checks, "train_seconds": 4000, "loss_first": 1}
        run.result["loss_last"] = 0.1
        run.save()
    opened = visit(alice, "/", width=width, height=700, dark=dark)
    found = {}
    compare = f"/projects/answers/runs/compare/?run={runs[0].pk}&run={runs[1].pk}"
    for path in (f"/runs/{runs[0].pk}/", "/projects/answers/runs/", compare):
        opened.page.goto(path)
        opened.page.evaluate("document.querySelectorAll('details.more').forEach((one) => { one.open = true; })")
        found[path] = opened.page.evaluate(FAULTS) + (opened.page.evaluate(SMALL_TARGETS) if width < 600 else [])
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_two_runs_are_ticked_and_stand_side_by_side(visit, alice, policy, pairs):
    first, second = (
        start_run(project=policy.project, task="train", method=method, model=policy, dataset_version=pairs)
        for method in ("dpo", "ipo")
    )
    page = visit(alice, "/projects/answers/runs/").page
    for run in (first, second):
        page.get_by_label(f"Compare run {run.pk}").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Runs side by side")).to_be_visible()
    expect(page.get_by_role("row", name="Method")).to_contain_text("dpo")
    expect(page.get_by_role("row", name="Method")).to_contain_text("ipo")
