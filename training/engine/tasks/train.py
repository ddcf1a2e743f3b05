"""The task `train`: data and a model in, a better model and its held-out figures out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine.acceleration import keep_freed_memory
from training.engine.checkpoint import Checkpoints
from training.engine.console import say
from training.engine.errors import Cancelled
from training.engine.files import whole_folder, write_json
from training.engine.learner import device_of
from training.engine.modelfiles import weights_sha256
from training.engine.origins import origins
from training.engine.parallel import check_processes, leave, unshard
from training.engine.progress import read_progress
from training.engine.ranks import followers
from training.engine.runfolder import RunFolder
from training.engine.spec import Spec
from training.engine.startchecks import Check, end_checks
from training.engine.stop import Stop
from training.engine.trainingjob import TrainingJob


def run(spec: Spec, folder: RunFolder, *, stop: Stop) -> dict[str, Any]:
    """Train as the spec says, going on from the folder's checkpoint; leaves `model/`, returns result.json's content.

    Where the spec asks for several processes, the others are started here; only the first one writes.
    """
    keep_freed_memory()
    check_processes(spec.config["processes"], device_of(spec.config["device"]))
    with followers(spec.config["processes"], folder):
        try:
            return _run(spec, folder, stop=stop)
        finally:
            leave()


def _run(spec: Spec, folder: RunFolder, *, stop: Stop) -> dict[str, Any]:
    checkpoints = Checkpoints(folder.checkpoint, origins=origins(spec))
    done = checkpoints.step()
    folder.progress.rewind(done)
    job = TrainingJob(spec, stop, progress=folder.progress, step=done)
    if job.world.main:
        _warn(job.checks)
        # A long run must not hide until its end what was wrong at its start.
        write_json(folder.path / "checks.json", [one.as_dict() for one in job.checks])
    splits = job.with_reference(_reference_cache(folder), own=folder.checkpoint / "reference")
    checkpoints.writes = job.world.main
    trainer = job.trainer(splits["train"], checkpoints=checkpoints, bad_batch=folder.path / "bad_batch.json")
    if trainer.resume() == 0:
        trainer.totals.train_seconds = trainer.totals.reference_seconds = job.reference_seconds
    try:
        totals = trainer.train()
        figures = job.evaluate(trainer, splits)
    except Cancelled:
        trainer.save()
        raise
    job.check_first_loss(trainer, totals.loss_first or 0.0)
    if spec.config["shard"]:
        unshard(trainer.passes.unit)
    if not job.world.main:
        return {}
    ended = end_checks([line["metrics"] for line in read_progress(folder.progress.path) if line["metrics"]])
    _warn(ended)
    job.checks += ended
    with whole_folder(folder.model) as partial:
        job.save(partial)
    job.say(1.0, f"Finished after {totals.step} steps", step=totals.step, steps=totals.step)
    return job.result(totals, figures) | {"model_sha256": weights_sha256(folder.model)}


def _reference_cache(folder: RunFolder) -> Path:
    """Where runs share the log-probs of reference policies: PLUMB_REFERENCE_CACHE, or a folder beside the run's."""
    return Path(os.environ.get("PLUMB_REFERENCE_CACHE") or folder.path.resolve().parent / "reference-cache")


def check(spec: Spec, *, stop: Stop) -> dict[str, Any]:
    """What a run does before it learns: read the data, look at it, load the model, see that the first loss is right."""
    job = TrainingJob(spec, stop)
    _warn(job.checks)
    planned = job.trainer(job.splits["train"])
    # One step's examples are enough for the first loss; the reference of the rest would take as long as a run does.
    job.keep_only([index for indices in planned.plan(0)[0] for index in indices])
    with tempfile.TemporaryDirectory() as cache:
        trainer = job.trainer(job.with_reference(Path(cache))["train"])
        loss = trainer.first_loss()
    job.check_first_loss(trainer, loss)
    checks = [one.as_dict() for one in job.checks]
    return {"method": spec.method, "steps": planned.steps, "first_loss": loss, "data": job.data, "checks": checks}


def _warn(checks: Sequence[Check]) -> None:
    """Say at once what result.json will say as well."""
    for one in checks:
        if one.level == "warning":
            say(f"Warning: {one.message}")
