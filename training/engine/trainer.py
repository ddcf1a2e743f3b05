"""The training loop: one model, in one process or several, in steps that can be stopped and resumed exactly.

Every gradient is divided by a count over the whole optimiser step, so neither `token_budget` nor the order of the
micro-batches changes it. Works without a run folder too:

    trainer = Trainer(
        model=model, objective=make_objective("sft", {}), examples=Examples(trees), settings=Settings(), pad_id=0
    )
    trainer.train()
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from training.engine.batch import PADDING, Layout, plan_steps
from training.engine.checkpoint import Checkpoints
from training.engine.errors import Cancelled, EngineError
from training.engine.files import write_json
from training.engine.movingreference import moving_reference
from training.engine.objectives import Examples, Objective
from training.engine.optimiser import adamw, learning_rate_factor
from training.engine.parallel import World, whole
from training.engine.passes import Passes, Sums
from training.engine.stop import Stop

Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Settings:
    """The numbers of the loop; names and meanings are those of the table `spec.TRAIN_CONFIG`."""

    seed: int = 0
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 1e-5
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    token_budget: int = 4096
    layout: Layout = "padded"
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_seconds: float = 60.0
    shard: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, layout: Layout) -> Settings:
        """The loop's part of a spec's config, with the layout that the model can take."""
        names = {one.name for one in fields(cls)}
        return cls(**{**{name: value for name, value in config.items() if name in names}, "layout": layout})


@dataclass
class Totals:
    """How far a run has come; kept in its checkpoints."""

    step: int = 0
    examples: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    reference_seconds: float = 0.0
    loss_first: float | None = None
    loss_last: float | None = None


class Trainer:
    """Trains `model` in place.

    `reference` is where a reference that moves with the policy begins, the model itself when it is left out.
    `report(step, steps, metrics)` hears of every step, `on_first_loss(loss)` of the first before anything is changed.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        objective: Objective,
        examples: Examples,
        settings: Settings,
        pad_id: int,
        reference: nn.Module | None = None,
        world: World | None = None,
        report: Report | None = None,
        checkpoints: Checkpoints | None = None,
        stop: Stop | None = None,
        bad_batch: Path | None = None,
        on_first_loss: Callable[[float], None] | None = None,
    ) -> None:
        self.model = model
        self.examples = examples
        self.settings = settings
        self.totals = Totals()
        self.world = world or World()
        moving = moving_reference(objective, model, reference)
        self.passes = Passes(
            model,
            objective,
            layout=settings.layout,
            dtype=settings.dtype,
            pad_id=pad_id,
            token_budget=settings.token_budget,
            world=self.world,
            shard=settings.shard,
        )
        self.passes.moving = moving
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = adamw(
            self._parameters, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._report = report
        self._checkpoints = checkpoints
        self._stop = stop or Stop()
        self._bad_batch = bad_batch
        self._on_first_loss = on_first_loss
        self._plans: dict[int, list[list[list[int]]]] = {}
        self.steps = settings.epochs * len(self.plan(0))

    def plan(self, epoch: int) -> list[list[list[int]]]:
        """Steps → micro-batches → indices of examples, for one epoch; the same whenever it is asked for."""
        if epoch not in self._plans:
            chosen = self.settings
            plan = plan_steps(
                self.examples.trees,
                layout=chosen.layout,
                batch_size=chosen.batch_size,
                token_budget=chosen.token_budget,
                seed=chosen.seed,
                epoch=epoch,
                # Starting many kernels costs a GPU more than padding does.
                padding=PADDING if self.passes.device.type == "cpu" else 0.5,
            )
            self._plans = {epoch: plan}
        return self._plans[epoch]

    def resume(self) -> int:
        """Take up the newest checkpoint, if there is one; returns how many steps are done."""
        restored = self._checkpoints and self._checkpoints.restore(
            model=self.model, optimizer=self._optimizer, others=self.passes.moving_tensors()
        )
        if restored:
            step, state = restored
            self.passes.baseline.load_state_dict(state.pop("baseline"))
            self.totals = Totals(**{**state, "step": step})
        return self.totals.step

    def train(self) -> Totals:
        """Do the steps that remain. Raises Cancelled, after a checkpoint, and EngineError for NaN or infinity."""
        saved = time.monotonic()
        while self.totals.step < self.steps:
            metrics = self._step()
            if self._report:
                self._report(self.totals.step, self.steps, metrics)
            due = self.world.main and time.monotonic() - saved >= self.settings.checkpoint_seconds
            stop, due = self.world.any(self._stop.requested, due)
            if stop:
                self.save()
                raise Cancelled(f"The run was stopped after step {self.totals.step} of {self.steps}.")
            if due:
                self.save()
                saved = time.monotonic()
        self.passes.objective.finish(self.model)
        return self.totals

    def save(self) -> None:
        """Write a checkpoint of this moment, where checkpoints are kept at all."""
        if self._checkpoints:
            state = {**asdict(self.totals), "baseline": self.passes.baseline.state_dict()}
            step, others = state.pop("step"), self.passes.moving_tensors()
            self._checkpoints.save(step=step, model=self.model, optimizer=self._optimizer, state=state, others=others)

    def first_loss(self) -> float:
        """The loss of the first step, before any update."""
        return self.passes.over(self.examples, self.plan(0)[0]).mean("loss")

    def _step(self) -> dict[str, float]:
        started = time.perf_counter()
        totals, chosen = self.totals, self.settings
        epoch, position = divmod(totals.step, self.steps // chosen.epochs)
        micro_batches = self.plan(epoch)[position]
        factor = learning_rate_factor(totals.step, self.steps, warmup=chosen.warmup, schedule=chosen.schedule)
        for group in self._optimizer.param_groups:
            group["lr"] = chosen.learning_rate * factor

        self._optimizer.zero_grad(set_to_none=True)
        sums = self.passes.over(self.examples, micro_batches, backward=True, step=totals.step)
        norm = float(whole(nn.utils.clip_grad_norm_(self._parameters, chosen.max_grad_norm or math.inf)))
        loss = sums.mean("loss")
        if not math.isfinite(loss + norm):
            raise self._not_finite(loss, norm, sums)
        if totals.step == 0 and self._on_first_loss:
            self._on_first_loss(loss)
        self._optimizer.step()

        seconds = time.perf_counter() - started
        totals.step += 1
        if self.passes.moving:
            totals.reference_seconds += self.passes.moving.take_seconds()
            self.passes.moving.after_step(totals.step, self.model)
        totals.examples += sum(len(indices) for indices in micro_batches)
        totals.tokens += sums.tokens
        totals.train_seconds += seconds
        totals.loss_first = loss if totals.loss_first is None else totals.loss_first
        totals.loss_last = loss
        return {
            **sums.metrics(),
            "grad_norm": norm,
            "learning_rate": chosen.learning_rate * factor,
            "tokens_per_second": sums.tokens / seconds,
            "padding": sums.padding / max(sums.tokens + sums.padding, 1),
        }

    def _not_finite(self, loss: float, norm: float, sums: Sums) -> EngineError:
        """The refusal to go on, after the offending micro-batches were saved. The weights are those before the step."""
        finite = [bool(torch.isfinite(one)) for one in sums.losses]
        # With finite losses the gradient alone broke, and every micro-batch of the step is under suspicion.
        suspects = [indices for indices, good in zip(sums.groups, finite, strict=True) if not good] or sums.groups
        trees = [self.examples.trees[index] for indices in suspects for index in indices]
        rows = sorted(tree.row for tree in trees)
        where = ""
        if self._bad_batch and self.world.main:
            where = f" They are kept in {self._bad_batch.name}."
            write_json(
                self._bad_batch,
                {
                    "step": self.totals.step + 1,
                    "loss": repr(loss),
                    "grad_norm": repr(norm),
                    "examples": [asdict(tree) for tree in trees],
                },
            )
        what = "loss" if not math.isfinite(loss) else "gradient"
        listed = ", ".join(str(row) for row in rows[:10]) + (", …" if len(rows) > 10 else "")
        return EngineError(
            f"The {what} of step {self.totals.step + 1} is not a finite number, in rows {listed} of the training data."
            f"{where} Lower learning_rate, or look for broken weights in the model.",
            row=rows[0],
            field="config.learning_rate",
        )
