"""Every check of this room speaks up when the data are broken on purpose, and is silent before."""

from contextlib import suppress

import pytest
from django.core.management import CommandError, call_command

from exports.models import Dataset
from feedback_site.jobs.models import Job
from tests.makers import make_completion, make_project, make_prompt
from training.models import Model, Run
from training.services.runs import start_run
from training.verify import CHECKS

pytestmark = pytest.mark.django_db


@pytest.fixture
def done(project, tiny) -> Run:
    """A sampling run that is done and collected."""
    make_prompt(project)
    run = start_run(project=project, task="sample", model=tiny)
    assert run.job is not None
    Job.objects.filter(pk=run.job.pk).update(status="done", fraction=1, finished_at=run.created_at)
    Run.objects.filter(pk=run.pk).update(result={}, collected_at=run.created_at)
    run.refresh_from_db()
    return run


def broken(capsys) -> str:
    """The lines of `manage.py verify` about this room; empty when all holds."""
    with suppress(CommandError):
        call_command("verify")
    ours = tuple(f"{name}: " for name, _, _ in CHECKS)
    return "".join(line + "\n" for line in capsys.readouterr().out.splitlines() if line.startswith(ours))


def uncollected(run: Run, other: Model) -> None:
    Run.objects.filter(pk=run.pk).update(result=None, collected_at=None)


def model_of_another_project(run: Run, other: Model) -> None:
    Run.objects.filter(pk=run.pk).update(model=other)


def training_without_a_model(run: Run, other: Model) -> None:
    Run.objects.filter(pk=run.pk).update(task="train", method="dpo")


def completion_of_another_project(run: Run, other: Model) -> None:
    make_completion(run.project.prompts.get(), "Yes.", source="model", run_id=run.pk, model_id=other.pk)


def completion_of_no_run(run: Run, other: Model) -> None:
    make_completion(run.project.prompts.get(), "Yes.", source="model", run_id=10_000, model_id=run.model_id)


def other_weights(run: Run, other: Model) -> None:
    Model.objects.filter(runs=run).update(weights_sha256="0" * 64)


def no_folder(run: Run, other: Model) -> None:
    Model.objects.filter(runs=run).update(folder="models/gone")


DAMAGES = {
    "run_done_collected": [uncollected],
    "run_model_project": [model_of_another_project],
    "run_one_model": [training_without_a_model],
    "completion_run": [completion_of_another_project, completion_of_no_run],
    "model_weights": [other_weights, no_folder],
}


def test_every_check_has_a_damage_that_it_must_see():
    assert {name for name, _, _ in CHECKS} == set(DAMAGES)


@pytest.mark.parametrize(
    ("name", "damage"), [(name, damage) for name, damages in DAMAGES.items() for damage in damages]
)
def test_verify_is_silent_and_then_names_what_was_broken(done, capsys, name, damage):
    other = Model.objects.create(project=make_project("other"), name="o", kind="policy", folder="models/o")
    assert broken(capsys) == ""
    damage(done, other)
    said = broken(capsys)
    assert f"{name}: " in said
    assert said.count("\n") == 1


def test_verify_sees_a_version_of_another_project(done, built, capsys):
    elsewhere = make_project("elsewhere")
    Run.objects.filter(pk=done.pk).update(dataset_version=built)
    assert broken(capsys) == ""
    Dataset.objects.filter(pk=built.dataset_id).update(project=elsewhere)
    assert "run_model_project: " in broken(capsys)
