"""Pairs for a reward model, with margin and soft label."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from training.engine.batch import Batch
from training.engine.diagnostics import pair_sums, total
from training.engine.objectives.base import Contribution, Objective, targets
from training.engine.reward import RewardModel
from training.engine.scorer import values


class RewardObjective(Objective):
    """The losses over the values of a reward model."""

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        assert isinstance(model, RewardModel)
        rewards = values(model, batch)
        chosen, rejected = rewards[0::2], rewards[1::2]
        p, weight = targets(batch.trees, "p", rewards, default=1.0), targets(batch.trees, "weight", rewards)
        margin = targets(batch.trees, "margin", rewards)
        losses = sum(term.weight * term.method.fn(chosen, rejected, margin, p, **term.settings) for term in self.terms)
        sums: dict[str, Any] = pair_sums(chosen, rejected, p)
        sums["reward"] = total(rewards)
        sums["reward_square"] = total(rewards.double().square())
        return Contribution((weight * losses).sum(), sums)
