"""Imitation: the mean over all tokens of the step, a completion's tokens times its tree's weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.engine.diagnostics import policy_sums
from training.engine.losses import Scores
from training.engine.objectives.base import PolicyObjective, targets
from training.engine.trees import PromptTree


class DemonstrationObjective(PolicyObjective):
    """Demonstrations, any number per prompt; those of conditional SFT stand behind their condition already."""

    def weight(self, tree: PromptTree) -> float:
        return super().weight(tree) * sum(map(len, tree.completions))

    def losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Tensor:
        counts = torch.tensor([len(tree.completions) for tree in trees], device=scores.logp.device)
        weight = targets(trees, "weight", scores.logp).repeat_interleave(counts)
        return weight * self.method.fn(scores, **self.terms[0].settings)

    def sums(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> dict[str, Any]:
        return policy_sums(scores)
