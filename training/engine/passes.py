"""Forward (and backward) passes over micro-batches, and the sums they leave. Training and evaluation share them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from training.engine.batch import Batch, Layout, make_batch
from training.engine.losses import KtoBaseline
from training.engine.objectives import Contribution, Examples, Objective
from training.engine.scorer import score
from training.engine.trees import PromptTree

MicroBatches = Sequence[Sequence[int]]


class Sums:
    """Sums over micro-batches that become means only at the end, so that every example counts the same."""

    def __init__(self) -> None:
        self.tokens = 0
        self.padding = 0
        self.losses: list[Tensor] = []
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}

    def add(self, batch: Batch, contribution: Contribution, weight: float) -> None:
        """Take in one micro-batch whose examples weigh `weight` together."""
        self.tokens += batch.tokens
        self.padding += batch.padding
        self.losses.append(contribution.loss.detach())
        for name, (value, count) in {**contribution.sums, "loss": (self.losses[-1], weight)}.items():
            # On the device and in float64: no synchronisation per micro-batch, and the order hardly matters.
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().double()
            self._counts[name] = self._counts.get(name, 0.0) + count

    def count(self, name: str) -> float:
        """How much a metric was counted over; 0 for one that never occurred."""
        return self._counts.get(name, 0.0)

    def mean(self, name: str) -> float:
        """Σ value / Σ count; 0 where everything weighs nothing."""
        return float(self._sums[name]) / self._counts[name] if self.count(name) else 0.0

    def metrics(self) -> dict[str, float]:
        """Every metric that was counted at all, as a mean, and what follows from them."""
        means = {name: self.mean(name) for name in self._sums if self.count(name)}
        if "chosen_reward" in means and "rejected_reward" in means:
            means["margin"] = means["chosen_reward"] - means["rejected_reward"]
        if "reward_square" in means:
            means["reward_std"] = math.sqrt(max(means.pop("reward_square") - means["reward"] ** 2, 0.0))
        return means


class Passes:
    """Runs one model and one objective over examples."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        layout: Layout,
        dtype: Literal["float32", "bfloat16"],
        pad_id: int,
    ) -> None:
        self.model = model
        self.objective = objective
        self.layout = layout
        self.pad_id = pad_id
        self.device = next(model.parameters()).device
        self._low_precision = dtype == "bfloat16"

    def batch(self, trees: Sequence[PromptTree]) -> Batch:
        """The trees as one batch on the model's device."""
        return make_batch(trees, layout=self.layout, pad_id=self.pad_id, device=self.device)

    def _autocast(self) -> torch.autocast:
        """bfloat16 arithmetic where the run asks for it; weights and log-probs stay float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._low_precision)

    def over(
        self,
        examples: Examples,
        micro_batches: MicroBatches,
        *,
        backward: bool = False,
        baseline: KtoBaseline | None = None,
        between: Callable[[], None] | None = None,
    ) -> Sums:
        """The sums over these micro-batches; with `backward`, gradients of their mean loss are left on the parameters.

        `baseline` is the state that KTO's z₀ is kept in; left out, z₀ is measured afresh over these examples.
        `between` is called after each micro-batch, so that long evaluations can be stopped.
        """
        sums = Sums()
        z0 = self._measure(baseline or KtoBaseline(), examples, micro_batches)
        weights = [sum(self.objective.weight(examples.trees[i]) for i in indices) for indices in micro_batches]
        divisor = sum(weights) or 1.0
        for indices, weight in zip(micro_batches, weights, strict=True):
            batch = self.batch([examples.trees[index] for index in indices])
            reference = None if examples.reference is None else self._beside(examples.reference, indices)
            with torch.set_grad_enabled(backward), self._autocast():
                contribution = self.objective(self.model, batch, reference=reference, baseline=z0)
            if backward:
                (contribution.loss / divisor).backward()
            sums.add(batch, contribution, weight)
            if between:
                between()
        return sums

    @torch.no_grad()
    def logps(self, trees: Sequence[PromptTree]) -> Tensor:
        """Log-probs of all completions of one batch of trees, float32 [N]."""
        with self._autocast():
            return score(self.model, self.batch(trees)).logp

    def _measure(self, baseline: KtoBaseline, examples: Examples, micro_batches: MicroBatches) -> Tensor | None:
        """z₀ over the mismatched completions of a whole step, so that it too is the same however the step is cut."""
        if examples.mismatched is None:
            return None
        policy, reference = [torch.zeros(0, device=self.device)], [torch.zeros(0, device=self.device)]
        for indices in micro_batches:
            trees = [tree for index in indices if (tree := examples.mismatched[index]) is not None]
            if trees:
                policy.append(self.logps(trees))
                reference.append(self._beside(examples.mismatched_reference, indices))
        return baseline.update(torch.cat(policy), torch.cat(reference))

    def _beside(self, kept: Sequence[Tensor | None] | None, indices: Sequence[int]) -> Tensor:
        """What is kept beside these examples, flat, on the model's device."""
        assert kept is not None
        return torch.cat([value for index in indices if (value := kept[index]) is not None]).to(self.device)
