"""What a run may be told, and who may start one."""

import pytest

from exports.models import Dataset, DatasetVersion
from feedback_site.jobs.models import Job
from tests.makers import make_project, make_prompt
from training.models import Model, Run
from training.services.runs import RunError, Selection, start_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def policy(project):
    return Model.objects.create(project=project, name="base", kind="policy", folder="models/base")


@pytest.fixture
def reward(project):
    return Model.objects.create(project=project, name="judge", kind="reward", folder="models/judge")


@pytest.fixture
def version(project):
    return make_version(project)


def make_version(project, kind="pairwise", status="ready", name="pairs"):
    dataset = Dataset.objects.create(project=project, name=name, kind=kind)
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        recipe={},
        status=status,
        sha256="f" * 64 if status == "ready" else "",
        folder="datasets/1/v1",
        counts={"rows": {"train": 3, "validation": 0, "test": 0}, "judgements": 3},
    )


def refused(**arguments) -> str:
    with pytest.raises(RunError) as error:
        start_run(**arguments)
    assert not Run.objects.exists()
    assert not Job.objects.exists()
    return error.value.field


def test_a_run_and_its_job_come_together_with_every_setting_spelled_out(project, policy, version, alice):
    run = start_run(
        project=project, task="train", method="dpo", model=policy, dataset_version=version,
        config={"beta": 0.2}, created_by=alice,
    )  # fmt: skip
    assert (run.config["beta"], run.config["epochs"]) == (0.2, 1)
    assert run.job.kind == "run_engine"
    assert run.job.scope == f"project:{project.pk}"


def test_unknown_and_bad_settings_are_refused_by_name(project, policy, version):
    common = {"project": project, "task": "train", "method": "dpo", "model": policy, "dataset_version": version}
    assert refused(**common, config={"betta": 0.2}) == "config.betta"
    assert refused(**common, config={"beta": -1}) == "config.beta"
    assert refused(**common, config={"epochs": "many"}) == "config.epochs"
    assert refused(**common, config={"seed": 2**64}) == "config.seed"
    assert refused(**common | {"method": "alchemy"}) == "method"


def test_a_method_wants_its_own_kind_of_dataset_and_model(project, policy, reward, version):
    common = {"project": project, "task": "train", "dataset_version": version}
    assert refused(**common, method="kto", model=policy) == "dataset_version"
    assert refused(**common, method="dpo", model=reward) == "model"
    assert refused(**common, method="dpo", model=None) == "model"
    building = make_version(project, status="building", name="later")
    assert refused(**common | {"dataset_version": building}, method="dpo", model=policy) == "dataset_version"


def test_a_model_of_another_project_is_refused(project, version):
    other = Model.objects.create(project=make_project("other"), name="base", kind="policy", folder="models/base")
    assert refused(project=project, task="train", method="dpo", model=other, dataset_version=version) == "model"


def test_sampling_needs_a_policy_and_prompts(project, policy, reward):
    assert refused(project=project, task="sample", model=policy) == "prompts"
    make_prompt(project)
    assert refused(project=project, task="sample", model=reward) == "model"
    assert refused(project=project, task="sample", model=policy, selection=Selection(prompts=0)) == "prompts"
    assert start_run(project=project, task="sample", model=policy).selection == {
        "prompts": 50,
        "items": True,
        "config": {},
    }


def test_the_api_starts_a_run_and_names_what_is_wrong(project, policy, version, alice, api_for):
    api = api_for(alice)
    body = {"task": "train", "method": "dpo", "model": policy.pk, "dataset_version": version.pk}
    answer = api.post("/api/v1/runs/", body | {"config": {"beta": "strong"}}, format="json")
    assert answer.status_code == 400
    assert "config.beta" in answer.json()["error"]["fields"]
    answer = api.post("/api/v1/runs/", body | {"dataset_version": 10_000}, format="json")
    assert (answer.status_code, set(answer.json()["error"]["fields"])) == (404, {"dataset_version"})
    answer = api.post("/api/v1/runs/", body, format="json")
    assert answer.status_code == 201
    run = answer.json()
    assert api.get(f"/api/v1/runs/{run['id']}/").json()["status"] == "queued"
    assert api.post(f"/api/v1/runs/{run['id']}/cancel/").json()["status"] == "cancelled"


def test_annotators_and_outsiders_neither_see_nor_start_runs(project, policy, version, bob, charlie, victor, api_for):
    run = start_run(project=project, task="train", method="dpo", model=policy, dataset_version=version)
    body = {"task": "train", "method": "dpo", "model": policy.pk, "dataset_version": version.pk}
    for user, read, write in ((bob, 403, 403), (charlie, 404, 404), (victor, 200, 403)):
        api = api_for(user)
        assert api.get(f"/api/v1/runs/{run.pk}/").status_code == read
        assert api.post("/api/v1/runs/", body, format="json").status_code == write
        assert api.post(f"/api/v1/runs/{run.pk}/cancel/").status_code == write
    assert api_for(bob).get("/api/v1/runs/").json()["results"] == []


def test_the_api_shows_the_figures_after_a_step(project, policy, version, alice, api_for, data_dir):
    run = start_run(project=project, task="train", method="dpo", model=policy, dataset_version=version)
    api, path = api_for(alice), f"/api/v1/runs/{run.pk}/metrics/"
    assert api.get(path).json() == {"results": [], "next": None}
    out = data_dir / run.folder / "out"
    out.mkdir(parents=True)
    (out / "progress.jsonl").write_text("".join(f'{{"step": {n}, "metrics": {{"loss": 0.{n}}}}}\n' for n in (1, 2, 3)))
    assert [point["step"] for point in api.get(path + "?after=1").json()["results"]] == [2, 3]
    answer = api.get(path + "?after=--2")
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["after"])
