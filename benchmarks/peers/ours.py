"""One side: the engine, through the same classes that `python -m training.engine` runs.

    python -m peers.ours JOBS.json        writes each job's `out`

A job's `gradients` names a file for the gradient of the first step; then nothing is trained. Where its `products` are
false, torch multiplies float32 as it does by itself.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from peers.meter import Memory
from training.engine import products
from training.engine.acceleration import keep_freed_memory
from training.engine.losses import LOSSES
from training.engine.spec import validate
from training.engine.stop import Stop
from training.engine.trainingjob import TrainingJob


class Listener:
    """Keeps the metrics of every step; stands where a run's progress file would."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def report(self, *, step: int, steps: int, fraction: float, message: str, metrics: Any = None) -> None:
        if metrics:
            self.steps.append(dict(metrics))


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of loop and reference pass, losses, memory, and the plan: the rows of every step."""
    if not job.get("products", True):
        products.bits_at_once = lambda: 0
    if job["method"] not in LOSSES:
        return {"missing": f"{job['method']} is not in LOSSES"}
    document = {"task": "train", **{name: job[name] for name in ("method", "model")}, "data": {"train": job["rows"]}}
    if job.get("reference"):
        document["reference"] = job["reference"]
    document["config"] = {"warmup": 0.0, "schedule": "constant", "max_length": 2048} | job["config"]
    listener = Listener()
    run = TrainingJob(validate(document), Stop(), progress=listener)
    memory = Memory()
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        examples = run.with_reference(Path(cache))["train"]
        reference_seconds = time.perf_counter() - started
    trainer = run.trainer(examples)
    plan = [[examples.trees[i].row for batch in step for i in batch] for step in trainer.plan(0)]
    if job.get("gradients"):
        sums = trainer.passes.over(examples, trainer.plan(0)[0], backward=True)
        gradients = {name: one.grad.contiguous() for name, one in run.model.named_parameters() if one.grad is not None}
        save_file(gradients, job["gradients"])
        if "start" in job:  # the very weights, for a head that each side would draw by itself
            save_file({name: one.detach().contiguous() for name, one in run.model.named_parameters()}, job["start"])
        return {"losses": [sums.mean("loss")], "plan": plan, "metrics": sums.metrics()}
    totals = trainer.train()
    return {
        "seconds": totals.train_seconds + reference_seconds,
        "reference_seconds": reference_seconds,
        "losses": [step["loss"] for step in listener.steps],
        "grad_norms": [step["grad_norm"] for step in listener.steps],
        "padding": sum(step["padding"] for step in listener.steps) / len(listener.steps),
        "plan": plan,
        **memory.figures(),
    }


def main() -> None:
    keep_freed_memory()  # as the command line does
    for job in json.loads(Path(sys.argv[1]).read_text()):
        torch.set_num_threads(job["threads"])
        try:
            found = measure(job)
        except Exception as error:  # one method that fails must not hide the others
            found = {"missing": f"{type(error).__name__}: {error}"}
        Path(job["out"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
