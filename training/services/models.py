"""The registry of models: taking one in, promoting it, and where it came from."""

import json
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from annotate.models import Project
from feedback_site.accounts.models import User
from training.engine.errors import EngineError
from training.engine.modelfiles import REWARD_FILE, check_model_folder, weights_sha256
from training.models import Model, ModelAlias
from training.paths import HUB_ID, data_dir, models_root

# How the names of architectures end that write text, token by token.
WRITERS = ("ForCausalLM", "LMHeadModel")


class ModelError(ValueError):
    """A model that cannot be taken in: which field, and the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def register_model(
    *, project: Project, name: str, kind: str, folder: str, created_by: User | None, anywhere: bool = False
) -> Model:
    """Take in a folder below `models/` of the data folder, or a hub id. One INSERT. Raises ModelError.

    Weights are safetensors only, and a folder that wants to run code of its own is refused; no loader is started to
    find out. `anywhere` is for the operator's own setting, which may name any folder.
    """
    if kind not in Model.Kind.values:
        raise ModelError("kind", f"Choose one of {', '.join(Model.Kind.values)}.")
    location, sums = _checked(folder, kind=kind, anywhere=anywhere)
    try:
        with transaction.atomic():
            return Model.objects.create(
                project=project, name=name, kind=kind, folder=location, weights_sha256=sums, created_by=created_by
            )
    except IntegrityError:
        raise ModelError("name", f"This project has a model “{name}” already; choose another name.") from None


def _checked(folder: str, *, kind: str, anywhere: bool) -> tuple[str, str]:
    """The location to store and the sha256 of the weights; for a hub id neither sum nor kind can be known yet."""
    root = Path("/") if anywhere else models_root().resolve()
    path = (root / folder).resolve()
    if not path.is_relative_to(root):
        raise ModelError("folder", "This folder lies outside the models folder; name one below it.")
    if not path.is_dir():
        if HUB_ID.fullmatch(folder):
            return folder, ""
        raise ModelError("folder", f"There is no folder “{folder}” in the models folder, and it is not a hub id.")
    try:
        check_model_folder(path)
    except EngineError as error:
        raise ModelError("folder", str(error)) from None
    _check_kind(path, kind)
    inside = path.is_relative_to(data_dir().resolve())
    location = str(path.relative_to(data_dir().resolve())) if inside else str(path)
    return location, weights_sha256(path)


def _check_kind(folder: Path, kind: str) -> None:
    """A policy writes, a reward model has a head that scores, an encoder has neither."""
    if (folder / REWARD_FILE).is_file():
        found = Model.Kind.REWARD
    else:
        config = json.loads((folder / "config.json").read_bytes())
        named = config.get("architectures") if isinstance(config, dict) else None
        if not isinstance(named, list) or not named:
            return  # says nothing about itself; the engine finds out when it loads it
        writes = any(str(name).endswith(WRITERS) for name in named)
        found = Model.Kind.POLICY if writes else Model.Kind.ENCODER
    if kind != found:
        wanted, is_a = Model.Kind(kind).label.lower(), found.label.lower()
        why = {
            Model.Kind.REWARD: f"it holds {REWARD_FILE}",
            Model.Kind.POLICY: "its architecture writes text",
            Model.Kind.ENCODER: "its architecture reads text but writes none",
        }[found]
        raise ModelError("kind", f"This folder is no {wanted}: {why}. Register it as {_article(is_a)}.")


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def promote_model(*, model: Model, alias: str, moved_by: User | None) -> ModelAlias:
    """Point the alias at this model, remembering the one before. One transaction; readers see the old or the new."""
    with transaction.atomic():
        held = ModelAlias.objects.select_for_update().filter(project=model.project, name=alias).first()
        if held is None:
            return ModelAlias.objects.create(project=model.project, name=alias, model=model, moved_by=moved_by)
        if held.model_id != model.pk:
            held.previous_id = held.model_id
            held.model = model
            held.moved_by = moved_by
            held.save(update_fields=["previous", "model", "moved_by", "moved_at"])
    return held


def lineage(model: Model) -> list[dict[str, Any]]:
    """Where the model came from, itself first: for each ancestor its run and the frozen judgements that made it."""
    steps = []
    current: Model | None = model
    while current is not None:
        run, version = current.run, current.dataset_version
        steps.append(
            {
                "model": {
                    "id": current.pk,
                    "name": current.name,
                    "kind": current.kind,
                    "weights_sha256": current.weights_sha256,
                    "folder": current.folder,
                },
                "run": run and {"id": run.pk, "task": run.task, "method": run.method, "config": run.config},
                "dataset_version": version
                and {
                    "id": version.pk,
                    "dataset": version.dataset_id,
                    "name": version.dataset.name,
                    "version": version.number,
                    "sha256": version.sha256,
                    "judgements": version.members.count(),
                    "annotators": version.members.values("judgement__annotator").distinct().count(),
                    "rows": f"/api/v1/datasets/{version.dataset_id}/versions/{version.number}/files/jsonl/",
                },
            }
        )
        current = current.parent
    return steps
