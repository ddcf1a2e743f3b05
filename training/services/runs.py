"""Starting runs. What a run may be told is checked by the engine's own tables, before anything is stored."""

from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import transaction

from annotate.access import job_scope
from annotate.models import Project
from exports.models import DatasetVersion
from feedback_site.accounts.models import User
from feedback_site.jobs.services import enqueue
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method, trains_reward
from training.engine.spec import Spec, validate
from training.models import Model, Run

DEFAULT_PROMPTS = 50
MOST_PROMPTS = 10_000


class RunError(ValueError):
    """A run that cannot start: which field, and the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Selection:
    """Which prompts are sampled for, and what becomes of the answers.

    `config` holds the sampler's settings where the sampling follows another run by itself.
    """

    prompts: int = DEFAULT_PROMPTS
    items: bool = True
    config: dict[str, Any] = field(default_factory=dict)


def start_run(
    *,
    project: Project,
    task: str,
    method: str = "",
    model: Model | None = None,
    dataset_version: DatasetVersion | None = None,
    config: dict[str, Any] | None = None,
    selection: Selection | None = None,
    created_by: User | None = None,
) -> Run:
    """The run and its job in one transaction. Raises RunError, which names the field and the cure."""
    if task not in Run.Task.values:
        raise RunError("task", f"Choose one of {', '.join(Run.Task.values)}.")
    if task == Run.Task.TRAIN:
        _check_training(project, method, model, dataset_version)
    elif task == Run.Task.SAMPLE:
        _check_sampling(project, model, selection or Selection())
    spec = _spec(task, method, config or {})
    if task == Run.Task.TRAIN:
        _check_outcome(LOSSES[method], spec, model, selection)
    with transaction.atomic():
        run = Run.objects.create(
            project=project,
            task=task,
            method=method if task == Run.Task.TRAIN else "",
            model=model if task != Run.Task.STARTER else None,
            dataset_version=dataset_version if task == Run.Task.TRAIN else None,
            config=dict(spec.config),
            selection=_selection(task, selection),
            created_by=created_by,
        )
        run.folder = f"runs/{run.pk}"
        run.job = enqueue(
            kind="run_engine",
            title=_title(run),
            params={"run": run.pk},
            created_by=created_by,
            scope=job_scope(project),
        )
        run.save(update_fields=["folder", "job"])
    return run


def _title(run: Run) -> str:
    if run.task == Run.Task.TRAIN:
        return f"{LOSSES[run.method].title} on {run.dataset_version}"
    return f"Sample {run.model}" if run.task == Run.Task.SAMPLE else "Make the starter policy"


def _selection(task: str, selection: Selection | None) -> dict[str, Any]:
    """A run that makes a policy may carry a selection too: its model is sampled as soon as it is there."""
    if task == Run.Task.SAMPLE:
        selection = selection or Selection()
    return asdict(selection) if selection else {}


def _spec(task: str, method: str, config: dict[str, Any]) -> Spec:
    """The checked spec with stand-ins for the paths, which are known only when the run starts."""
    document: dict[str, Any] = {"task": task, "config": config}
    if task == Run.Task.TRAIN:
        document |= {"method": method, "model": "model", "data": {"train": "train.parquet"}}
    elif task == Run.Task.SAMPLE:
        document |= {"model": "model", "prompts": "prompts.jsonl"}
    try:
        return validate(document)
    except EngineError as error:
        raise RunError(error.field or "config", str(error)) from None


def _check_training(project: Project, method: str, model: Model | None, version: DatasetVersion | None) -> None:
    if method not in LOSSES:
        raise RunError("method", f"Choose one of {', '.join(LOSSES)}.")
    if model is None:
        raise RunError("model", "Choose the model to start from.")
    if version is None:
        raise RunError("dataset_version", "Choose the dataset version to learn from.")
    if model.project_id != project.pk or version.dataset.project_id != project.pk:
        raise RunError("model", "Model and dataset version belong to different projects; choose both from one.")
    if version.status != DatasetVersion.Status.READY:
        raise RunError("dataset_version", f"{version} is {version.state}; wait until it is ready, or build it again.")
    kind = LOSSES[method].dataset_kind
    if version.dataset.kind != kind:
        raise RunError(
            "dataset_version",
            f"{LOSSES[method].title} learns from a {kind} dataset; “{version.dataset}” is {version.dataset.kind}. "
            f"Build a {kind} dataset of this project.",
        )


def _check_outcome(method: Method, spec: Spec, model: Model | None, selection: Selection | None) -> None:
    """Whether a policy or a reward model comes out is known only with the settings, and decides what may go in."""
    reward = trains_reward(method, spec.config)
    if model is not None and model.kind != Model.Kind.POLICY and not reward:
        raise RunError("model", f"“{model}” is {_a(model)}; {method.title} needs a policy.")
    if selection and reward:
        raise RunError("prompts", "A reward model writes nothing, so it cannot be sampled.")


def _a(model: Model) -> str:
    """What the model is, in words: “a reward model”, “an encoder”."""
    return "an encoder" if model.kind == Model.Kind.ENCODER else f"a {model.get_kind_display().lower()}"


def _check_sampling(project: Project, model: Model | None, selection: Selection) -> None:
    if model is None or model.project_id != project.pk:
        raise RunError("model", "Choose a policy of this project to sample.")
    if model.kind != Model.Kind.POLICY:
        raise RunError("model", f"“{model}” is {_a(model)}, which writes nothing; choose a policy.")
    if not 1 <= selection.prompts <= MOST_PROMPTS:
        raise RunError("prompts", f"Write a number of prompts from 1 to {MOST_PROMPTS}.")
    if not project.prompts.exists():
        raise RunError("prompts", "This project has no prompts yet; import some first.")
