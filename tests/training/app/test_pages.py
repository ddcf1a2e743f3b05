"""The pages of runs and models: who sees them, what they say, and what their forms do."""

import json
import shlex

import pytest
from django.urls import reverse

from exports.models import DatasetVersion
from tests.makers import make_project, make_prompt
from training.engine.losses import LOSSES
from training.models import Model, Run
from training.runpage import duration
from training.services.runs import Selection, start_run

pytestmark = pytest.mark.django_db

RESULT = {
    "method": "dpo", "steps": 3, "examples": 9, "tokens": 1234, "train_seconds": 1.5, "reference_seconds": 0.3,
    "loss_first": 0.6931, "loss_last": 0.5, "peak_memory_bytes": 1 << 20,
    "eval": {"validation": {"n": 3, "loss": 0.66, "accuracy": 0.667, "accuracy_low": 0.208, "accuracy_high": 0.939}},
    "checks": [
        {"name": "train.too_long", "level": "warning", "message": "4 of 9 rows are too long.", "value": 4},
        {"name": "train.boundary", "level": "ok", "message": "All rows end.", "value": 9},
    ],
}  # fmt: skip


@pytest.fixture
def ready(project, built_rows) -> DatasetVersion:
    return built_rows(project)


@pytest.fixture
def built_rows():
    """A version that says it is ready; nothing reads its files here."""

    def make(project, kind="pairwise") -> DatasetVersion:
        dataset = project.datasets.create(name=f"{kind}s", kind=kind)
        counts = {"rows": {"train": 1200, "validation": 3, "test": 0}, "prompts": {}, "judgements": 1203}
        return DatasetVersion.objects.create(
            dataset=dataset, number=1, recipe={}, status="ready", sha256="f" * 64, folder="datasets/1/v1", counts=counts
        )

    return make


@pytest.fixture
def policy(project) -> Model:
    return Model.objects.create(project=project, name="base", kind="policy", folder="models/base")


@pytest.fixture
def run(project, policy, ready, alice) -> Run:
    return start_run(project=project, task="train", method="dpo", model=policy, dataset_version=ready, created_by=alice)


def text(answer) -> str:
    return answer.content.decode()


def test_managers_and_viewers_see_the_pages_that_annotators_and_outsiders_do_not(
    run, policy, alice, bob, victor, charlie, client_for
):
    pages = ["/projects/answers/runs/", f"/runs/{run.pk}/", f"/runs/{run.pk}/curves/", "/projects/answers/models/"]
    for user, allowed in ((alice, {200}), (victor, {200}), (bob, {403}), (charlie, {404})):
        client = client_for(user)
        assert {client.get(page).status_code for page in [*pages, f"/models/{policy.pk}/"]} == allowed, user


def test_only_managers_meet_forms_and_may_send_them(run, policy, alice, bob, victor, charlie, client_for):
    forms = [
        "/projects/answers/sample/",
        "/projects/answers/runs/new/",
        *(reverse("train", args=["answers", method]) for method in LOSSES),
    ]
    sent = ["/projects/answers/models/", "/projects/answers/models/starter/", f"/models/{policy.pk}/promote/"]
    sent.append(f"/runs/{run.pk}/retry/")
    for user, status in ((bob, 403), (victor, 403), (charlie, 404)):
        client = client_for(user)
        assert {client.get(page).status_code for page in forms} == {status}
        assert {client.post(page).status_code for page in [*forms[:1], *forms[2:], *sent]} == {status}
    assert {client_for(alice).get(page).status_code for page in forms} == {200}
    assert "Train a model" in text(client_for(alice).get("/projects/answers/runs/"))
    assert "Train a model" not in text(client_for(victor).get("/projects/answers/runs/"))
    assert "Register a model" not in text(client_for(victor).get("/projects/answers/models/"))
    assert Run.objects.count() == 1


def test_an_empty_project_says_what_comes_first(alice, victor, client_for):
    project = make_project("empty", owner=alice)
    project.memberships.create(user=victor, role="viewer")
    client = client_for(alice)
    assert "No run yet" in text(client.get("/projects/empty/runs/"))
    assert "Make the starter policy" in text(client.get("/projects/empty/models/"))
    assert "Build a dataset" in text(client.get("/projects/empty/runs/new/dpo/"))
    assert "To the models" in text(client.get("/projects/empty/sample/"))
    assert "A manager of the project" in text(client_for(victor).get("/projects/empty/models/"))


def test_a_method_that_is_not_there_leads_back_to_the_others(project, alice, client_for):
    answer = client_for(alice).get("/projects/answers/runs/new/alchemy/", follow=True)
    assert "There is no method “alchemy”" in text(answer)


def test_the_form_starts_a_run(policy, ready, alice, client_for):
    client = client_for(alice)
    form = client.get("/projects/answers/runs/new/dpo/").context["form"]
    data = {field.html_name: field.value() for field in form} | {"model": policy.pk, "dataset_version": ready.pk}
    answer = client.post("/projects/answers/runs/new/dpo/", data | {"beta": "0.25"})
    started = Run.objects.get()
    assert answer.url == f"/runs/{started.pk}/"
    assert (started.config["beta"], started.created_by) == (0.25, alice)


def test_a_folded_setting_that_is_wrong_is_shown_unfolded(policy, ready, alice, client_for):
    client = client_for(alice)
    form = client.get("/projects/answers/runs/new/dpo/").context["form"]
    data = {field.html_name: field.value() for field in form} | {"model": policy.pk, "dataset_version": ready.pk}
    page = text(client.post("/projects/answers/runs/new/dpo/", data | {"max_length": "3"}))
    assert '<details class="more" open>' in page
    assert "greater than or equal to 8" in page
    assert not Run.objects.exists()


def test_what_only_the_engine_can_refuse_stands_beside_its_field(policy, ready, alice, client_for):
    client = client_for(alice)
    form = client.get("/projects/answers/runs/new/dpo/").context["form"]
    data = {field.html_name: field.value() for field in form} | {"dataset_version": ready.pk, "plus": "0.2*alchemy"}
    errors = client.post("/projects/answers/runs/new/dpo/", data).context["form"].errors
    assert list(errors) == ["plus"]
    assert errors["plus"][0].startswith("'plus': '0.2*alchemy' is no term.")
    assert not Run.objects.exists()


def test_an_earlier_run_fills_the_form_and_unfolds_what_it_changed(run, policy, ready, alice, client_for):
    first = start_run(
        project=run.project, task="train", method="dpo", model=policy, dataset_version=ready,
        config={"beta": 0.3, "lora_rank": 4}, created_by=alice,
    )  # fmt: skip
    client = client_for(alice)
    assert f"/runs/new/dpo/?like={first.pk}" in text(client.get(f"/runs/{first.pk}/"))
    answer = client.get(f"/projects/answers/runs/new/dpo/?like={first.pk}")
    data = {field.html_name: field.value() for field in answer.context["form"]}
    assert '<details class="more" open>' in text(answer)
    assert '<details class="more">' in text(client.get(f"/projects/answers/runs/new/dpo/?like={run.pk}"))
    client.post("/projects/answers/runs/new/dpo/", {name: value for name, value in data.items() if value is not False})
    again = Run.objects.first()
    assert again.pk != first.pk
    assert (again.config, again.model, again.dataset_version) == (first.config, policy, ready)


def test_the_settings_of_another_method_or_project_fill_no_form(run, alice, client_for):
    Run.objects.filter(pk=run.pk).update(config=run.config | {"beta": 0.3})
    client = client_for(alice)
    make_project("other", owner=alice)
    for path in (f"/projects/answers/runs/new/cdpo/?like={run.pk}", f"/projects/other/runs/new/dpo/?like={run.pk}"):
        assert client.get(path).context["form"]["beta"].value() == 0.1
    for nonsense in ("x", "9" * 30):
        assert client.get(f"/projects/answers/runs/new/dpo/?like={nonsense}").status_code == 200


def test_sampling_again_takes_over_how_much_was_sampled(project, policy, alice, client_for):
    make_prompt(project)
    selection = Selection(prompts=7, items=False)
    first = start_run(project=project, task="sample", model=policy, config={"n": 5}, selection=selection)
    form = client_for(alice).get(f"/projects/answers/sample/?like={first.pk}").context["form"]
    values = {name: form[name].value() for name in ("model", "prompts", "items", "n")}
    assert values == {"model": policy.pk, "prompts": 7, "items": False, "n": 5}


def test_only_what_a_method_can_start_from_is_offered(project, policy, ready, alice, client_for):
    Model.objects.create(project=project, name="judge", kind="reward", folder="models/judge")
    Model.objects.create(project=project, name="reader", kind="encoder", folder="models/reader")
    client = client_for(alice)

    def offered(path: str) -> set[str]:
        return {model.name for model in client.get(path).context["form"].fields["model"].queryset}

    assert offered("/projects/answers/runs/new/dpo/") == {"base"}
    assert offered("/projects/answers/sample/") == {"base"}
    assert offered("/projects/answers/runs/new/bradley_terry/") == {"base", "judge", "reader"}


def test_the_only_model_is_chosen_already_and_of_several_people_choose(project, policy, ready, alice, client_for):
    client = client_for(alice)

    def chosen(query: str = "") -> str:
        return str(client.get(f"/projects/answers/runs/new/dpo/{query}").context["form"]["model"].value())

    assert chosen() == str(policy.pk)
    Model.objects.create(project=project, name="trial", kind="policy", folder="models/trial")
    assert chosen() == "None"
    assert chosen(f"?model={policy.pk}") == str(policy.pk)


def test_the_sampling_form_starts_a_run_with_its_choices(project, policy, alice, client_for):
    make_prompt(project)
    client = client_for(alice)
    form = client.get(f"/projects/answers/sample/?model={policy.pk}").context["form"]
    data = {field.html_name: field.value() for field in form if field.html_name != "items"}
    client.post("/projects/answers/sample/", data | {"prompts": 7, "n": 4})
    started = Run.objects.get()
    assert started.selection == {"prompts": 7, "items": False, "config": {}}
    assert (started.task, started.config["n"]) == ("sample", 4)


def test_a_running_run_polls_and_a_finished_one_shows_its_figures(run, alice, client_for):
    client = client_for(alice)
    assert 'hx-trigger="every 3s"' in text(client.get(f"/runs/{run.pk}/"))
    type(run.job).objects.filter(pk=run.job_id).update(status="done", finished_at=run.created_at)
    Run.objects.filter(pk=run.pk).update(result=RESULT, collected_at=run.created_at)
    page = text(client.get(f"/runs/{run.pk}/"))
    assert page.count("Worth a look") == 1
    assert "0.208 – 0.939" in page
    assert "0.6931 → 0.5000" in page
    assert '<dd class="number">2 s</dd>' in page
    assert "4 of 9 rows are too long." in page
    assert "Too long (train)" in page
    assert '<dd class="number">20 %</dd>' in page
    assert "1 passed, 1 warned" in page
    assert "hx-trigger" not in page
    assert client.get(f"/runs/{run.pk}/curves/").status_code == 286


def test_the_held_out_figures_of_a_reward_model_are_told_by_length_annotators_and_aspect(run, alice, client_for):
    figures = RESULT["eval"]["validation"] | {
        "ece": 0.1234, "brier": 0.2345, "length_correlation": -0.418, "reward": 1.5,
        "slices": {
            "chosen_longer": {"n": 1200, "accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95},
            "group:red team": {"n": 2, "accuracy": 0.5, "accuracy_low": 0.095, "accuracy_high": 0.905},
        },
        "aspects": {"tone": {"n": 7, "rmse": 0.75}},
    }  # fmt: skip
    Run.objects.filter(pk=run.pk).update(result=RESULT | {"eval": {"validation": figures}})
    answer = client_for(alice).get(f"/runs/{run.pk}/")
    (split,) = answer.context["splits"]
    assert [(name, value) for name, value, _ in split.more] == [
        ("Reward and length", "-0.42"), ("Calibration error", "0.123"), ("Brier score", "0.234"),
    ]  # fmt: skip
    assert [name for name, _ in split.groups] == ["The better answer is the longer one", "Annotators red team"]
    page = text(answer)
    for said in ("0.800 – 0.950", "0.095 – 0.905", "tone", "0.750"):
        assert said in page


def test_a_run_shows_what_was_chosen_and_folds_what_is_as_by_default(project, policy, ready, alice, client_for):
    config = {"epochs": 3, "beta": 0.1}
    one = start_run(
        project=project,
        task="train",
        method="dpo",
        model=policy,
        dataset_version=ready,
        config=config,
        created_by=alice,
    )
    settings = client_for(alice).get(f"/runs/{one.pk}/").context["settings"]
    assert settings["chosen"] == [("epochs", 3), ("beta", 0.1)]
    assert ("plus", "none") in settings["usual"]
    assert len(settings["chosen"]) + len(settings["usual"]) == len(one.config)


def test_a_run_says_the_command_that_does_the_same_by_hand(project, policy, ready, alice, client_for, settings):
    config = {"beta": 0.25, "plus": "0.2*sft", "gradient_checkpointing": True, "lora_rank": 8}
    settings.DATA_DIR = settings.BASE_DIR / "data"
    one = start_run(
        project=project, task="train", method="f_dpo", model=policy, dataset_version=ready, config=config,
    )  # fmt: skip
    command = shlex.split(client_for(alice).get(f"/runs/{one.pk}/").context["command"])
    assert command[:3] == ["python", "-m", "training.engine"]
    assert "--data" in command
    assert "train=data/datasets/1/v1/train.parquet" in command
    assert [word for word in command if "=" in word and word.startswith("--")] == [
        "--lora-rank=8", "--gradient-checkpointing=true", "--plus=0.2*sft", "--beta=0.25",
    ]  # fmt: skip


def test_a_data_folder_elsewhere_is_named_by_its_variable(run, alice, client_for):
    page = text(client_for(alice).get(f"/runs/{run.pk}/"))
    assert "--data train=$PLUMB_DATA/datasets/1/v1/train.parquet" in page
    assert "--data validation=$PLUMB_DATA/datasets/1/v1/validation.parquet" in page
    assert "data test=" not in page


def test_a_running_run_says_when_both_sides_become_unlikely(run, alice, client_for, data_dir):
    out = data_dir / run.folder / "out"
    out.mkdir(parents=True)
    steps = (
        {"step": n, "metrics": {"chosen_shift": -n / 20, "accuracy": n / 40, "padding": 0.25}} for n in range(1, 41)
    )
    (out / "progress.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    client = client_for(alice)
    for path in (f"/runs/{run.pk}/", f"/runs/{run.pk}/curves/"):
        page = text(client.get(path))
        assert "Both sides become unlikely" in page
        assert "25 % of what the model reads is padding." in page
    type(run.job).objects.filter(pk=run.job_id).update(status="done", finished_at=run.created_at)
    assert "Both sides become unlikely" not in text(client.get(f"/runs/{run.pk}/"))


def test_what_the_start_found_is_shown_while_the_run_goes_on(run, alice, client_for, data_dir):
    client = client_for(alice)
    assert "Worth a look" not in text(client.get(f"/runs/{run.pk}/"))
    out = data_dir / run.folder / "out"
    out.mkdir(parents=True)
    (out / "checks.json").write_text(json.dumps(RESULT["checks"]))
    for path in (f"/runs/{run.pk}/", f"/runs/{run.pk}/curves/"):
        page = text(client.get(path))
        assert page.count("Worth a look") == 1
        assert "4 of 9 rows are too long." in page
    assert "1 passed, 1 warned" in text(client.get(f"/runs/{run.pk}/"))


def test_only_a_running_run_says_how_long_it_still_takes(run, alice, client_for, data_dir):
    out = data_dir / run.folder / "out"
    out.mkdir(parents=True)
    lines = [{"step": n, "time": f"2026-01-01T00:{n:02}:00+00:00", "fraction": n / 20} for n in range(11)]
    (out / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    client = client_for(alice)
    for status, said in (("queued", False), ("running", True), ("failed", False)):
        lease = run.created_at if status == "running" else None
        finished = run.created_at if status == "failed" else None
        type(run.job).objects.filter(pk=run.job_id).update(status=status, lease_until=lease, finished_at=finished)
        for path in (f"/runs/{run.pk}/", f"/runs/{run.pk}/curves/"):
            assert ("About 10 minutes left" in text(client.get(path))) == said, status


def test_a_failed_run_says_why_and_goes_on_where_it_stopped_if_it_can(run, alice, client_for, data_dir):
    type(run.job).objects.filter(pk=run.job_id).update(
        status="failed", finished_at=run.created_at, error="Row 3 <b>is</b> empty."
    )
    page = text(client_for(alice).get(f"/runs/{run.pk}/"))
    assert "Row 3 &lt;b&gt;is&lt;/b&gt; empty." in page
    assert "Cancel</button>" not in page
    assert "Try again</button>" in page
    assert "The run ended before its first steps." in page
    (data_dir / run.folder / "out/checkpoint/step-00000002").mkdir(parents=True)
    page = text(client_for(alice).get(f"/runs/{run.pk}/"))
    assert "Go on where it stopped</button>" in page
    assert "Try again" not in page
    client = client_for(alice)
    answer = client.post(f"/runs/{run.pk}/retry/")
    run.job.refresh_from_db()
    assert (answer.url, run.job.status) == (f"/runs/{run.pk}/", "queued")
    assert "only failed or cancelled jobs are retried" in text(client.post(f"/runs/{run.pk}/retry/", follow=True))


def test_training_time_is_told_in_units_that_people_read():
    assert [duration(seconds) for seconds in (None, 0.4, 119, 120, 7140, 7260)] == [
        "", "0 s", "119 s", "2 min", "119 min", "2 h 1 min",
    ]  # fmt: skip


def test_the_list_shows_held_out_accuracy_with_its_interval(run, alice, client_for):
    Run.objects.filter(pk=run.pk).update(result=RESULT)
    page = text(client_for(alice).get("/projects/answers/runs/"))
    assert "0.67" in page
    assert "0.21 – 0.94" in page


def test_many_runs_are_shown_in_pages(project, policy, alice, client_for):
    Run.objects.bulk_create(
        Run(project=project, task="sample", model=policy, folder=f"runs/{n}", created_by=alice) for n in range(51)
    )
    page = text(client_for(alice).get("/projects/answers/runs/"))
    assert "Page 1 of 2" in page
    assert "Page 2 of 2" in text(client_for(alice).get("/projects/answers/runs/?page=2"))


def test_a_refused_model_keeps_what_was_typed_and_names_the_field(project, alice, client_for):
    data = {"name": "mine", "kind": "policy", "folder": "nothing"}
    page = text(client_for(alice).post("/projects/answers/models/", data))
    assert "There is no folder “nothing”" in page
    assert 'value="mine"' in page


def test_promoting_on_the_page_marks_the_champion(policy, alice, client_for):
    answer = client_for(alice).post(f"/models/{policy.pk}/promote/", follow=True)
    assert "is the champion now" in text(answer)
    assert "champion</span>" in text(client_for(alice).get("/projects/answers/models/"))
