"""The other side: TRL's own trainers, told to do nothing but train.

    .venv-peers/bin/python -m peers.theirs JOBS.json        writes each job's `out`

Gradient checkpointing, TRL's default, is off unless the job asks for it: it costs time. Nothing is logged or saved.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)

from peers.cases import plain_row
from peers.meter import Memory


def trainer_classes(name: str) -> tuple[type, type]:
    """TRL's trainer and its configuration. KeyError for one that this version does not have."""
    import trl
    from trl.experimental import cpo, orpo

    return {
        "dpo": (trl.DPOTrainer, trl.DPOConfig),
        "kto": (trl.KTOTrainer, trl.KTOConfig),
        "reward": (trl.RewardTrainer, trl.RewardConfig),
        "cpo": (cpo.CPOTrainer, cpo.CPOConfig),
        "orpo": (orpo.ORPOTrainer, orpo.ORPOConfig),
    }[name]


def measured(trainer: type) -> type:
    """The trainer, which keeps its losses and the seconds of its reference pass."""

    class Measured(trainer):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.losses: list[torch.Tensor] = []
            self.reference_seconds = 0.0
            super().__init__(*arguments, **named)

        def compute_loss(self, *arguments: Any, **named: Any) -> Any:
            found = super().compute_loss(*arguments, **named)
            self.losses.append((found[0] if isinstance(found, tuple) else found).detach())
            return found

        def _precompute_ref_logps(self, *arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            found = super()._precompute_ref_logps(*arguments, **named)
            self.reference_seconds += time.perf_counter() - started
            return found

    return Measured


class Clock(TrainerCallback):
    """Times the loop alone; keeps the gradient of the first step when a file is named for it."""

    def __init__(self, gradients: str | None) -> None:
        self.seconds = 0.0
        self._gradients = gradients
        self._started = 0.0

    def on_train_begin(self, *arguments: Any, **named: Any) -> None:
        self._started = time.perf_counter()

    def on_pre_optimizer_step(self, *arguments: Any, model: Any = None, **named: Any) -> None:
        if self._gradients:
            found = {name: one.grad.contiguous() for name, one in model.named_parameters() if one.grad is not None}
            save_file(found, self._gradients)

    def on_train_end(self, *arguments: Any, **named: Any) -> None:
        self.seconds = time.perf_counter() - self._started


class Profile:
    """Seconds inside TRL's chunked log-prob function, forward and backward."""

    def __init__(self) -> None:
        from trl.kernels import ChunkedLogProbFunction as Function

        self.seconds = 0.0
        for name in ("forward", "backward"):
            setattr(Function, name, staticmethod(self._timed(getattr(Function, name))))

    def _timed(self, function: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """The same figures as `ours.measure`, of the rows in the order of the other side's plan."""
    trainer, configuration = trainer_classes(job["trl"]["trainer"])
    plan = json.loads(Path(job["plan"]).read_text())["plan"]
    rows = [json.loads(line) for line in Path(job["rows"]).read_text().splitlines()]
    ordered = [plain_row(rows[index]) for step in plan for index in step]
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    profile = Profile() if job.get("profile") else None
    with tempfile.TemporaryDirectory() as scratch:
        arguments = configuration(
            output_dir=scratch,
            per_device_train_batch_size=len(plan[0]),
            num_train_epochs=1,
            max_steps=1 if job.get("gradients") else -1,
            train_sampling_strategy="sequential",
            learning_rate=job["config"]["learning_rate"],
            lr_scheduler_type="constant",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=0.0 if job.get("gradients") else 1.0,
            bf16=job["config"].get("dtype") == "bfloat16",
            use_cpu=True,
            max_length=2048,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **{"gradient_checkpointing": False, **job["trl"].get("arguments", {})},
        )
        named: dict[str, Any] = {"model": _model(job)}
        memory = Memory()
        if job.get("reference"):
            named["ref_model"] = AutoModelForCausalLM.from_pretrained(job["reference"], dtype="float32")
        clock = Clock(job.get("gradients"))
        # With a cache on disk a second run would read the reference pass of the first.
        run = measured(trainer)(
            args=arguments,
            train_dataset=Dataset.from_list(ordered),
            processing_class=tokenizer,
            callbacks=[clock],
            **named,
        )
        run.train()
    return {
        "seconds": clock.seconds + run.reference_seconds,
        "reference_seconds": run.reference_seconds,
        "losses": torch.stack(run.losses).tolist(),
        "function_seconds": profile.seconds if profile else None,
        **memory.figures(),
    }


def _model(job: dict[str, Any]) -> Any:
    if job["trl"]["trainer"] != "reward":
        return AutoModelForCausalLM.from_pretrained(job["model"], dtype="float32")
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1, dtype="float32")
    if "start" in job:
        start = load_file(job["start"])
        with torch.no_grad():
            model.score.weight.copy_(start["head.weight"])
    return model


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        torch.set_num_threads(job["threads"])
        try:
            found = measure(job)
        except Exception as error:  # as on the other side
            found = {"missing": f"TRL: {type(error).__name__}: {error}"}
        Path(job["out"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
