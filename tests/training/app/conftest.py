"""A tiny policy in the models folder, and a dataset version built from judgements, as a project would have them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exports.models import DatasetVersion
from exports.services.datasets import create_dataset, start_build
from tests.jobs import run_all_jobs
from tests.makers import make_annotator, make_item, make_judgement, make_prompt, uids
from tests.training.engine.conftest import tiny_encoder_dir, tiny_policy_dir  # noqa: F401 - fixtures
from training.models import Model, Run
from training.paths import run_output
from training.services.models import register_model
from training.services.runs import start_run

PAIRS = 12
# Three steps of four pairs, and figures that a tiny random model reaches at once.
QUICK = {"batch_size": 4, "max_length": 128, "learning_rate": 1e-3, "checkpoint_seconds": 0.0}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tiny tensors are faster without threads, and tests run beside each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny(project, data_dir, tiny_policy_dir: Path, alice) -> Model:  # noqa: F811
    """The tiny policy, registered."""
    shutil.copytree(tiny_policy_dir, data_dir / "models/tiny")
    return register_model(project=project, name="tiny", kind="policy", folder="tiny", created_by=alice)


@pytest.fixture
def built(project, alice) -> DatasetVersion:
    """A ready pairwise version over twelve judgements of one annotator."""
    annotator = make_annotator(project, "ann")
    for n in range(PAIRS):
        prompt = make_prompt(project, f"What is the capital of country {n}?")
        item = make_item(project, [f"The capital is city {n}. Thank you!", f"Go away {n}."], prompt=prompt)
        chosen, rejected = uids(item)
        make_judgement(item, annotator, {"ranking": [[chosen], [rejected]]})
    recipe = {"validation": 0.3, "test": 0.0}
    dataset = create_dataset(project=project, name="pairs", kind="pairwise", recipe=recipe, created_by=alice)
    version = start_build(dataset=dataset, created_by=alice)
    run_all_jobs()
    version.refresh_from_db()
    assert version.status == "ready"
    return version


@pytest.fixture
def start_dpo(project, tiny, built, alice) -> Callable[..., Run]:
    """Start DPO on the built version: `start_dpo(epochs=2)`."""

    def start(**config) -> Run:
        return start_run(
            project=project, task="train", method="dpo", model=tiny, dataset_version=built,
            config=QUICK | config, created_by=alice,
        )  # fmt: skip

    return start


def do(run: Run) -> Run:
    """Work off the run's job in this process, and look again."""
    run_all_jobs()
    return Run.objects.select_related("job", "project", "model").get(pk=run.pk)


def again(run: Run) -> Run:
    """Work off the job once more, as after a worker that died between its last commit and its last word."""
    assert run.job is not None
    type(run.job).objects.filter(pk=run.job.pk).update(status="queued", finished_at=None, result=None)
    return do(run)


def touch(run: Run, name: str) -> Path:
    """Change one byte of a file that the run wrote."""
    path = run_output(run) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    return path
