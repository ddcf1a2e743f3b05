"""Single completions with a thumb up or down, against a baseline measured over the step or over the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.engine.diagnostics import label_sums, policy_sums, total
from training.engine.losses import Scores
from training.engine.objectives.base import PolicyObjective, Record, targets
from training.engine.terms import Term
from training.engine.trees import PromptTree


class UnpairedObjective(PolicyObjective):
    """Thumbs, weighted; `sft` as a further term acts on the liked completions."""

    def losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Tensor:
        desirable = _labels(trees, scores.logp)
        zero = _or_zero(baseline, scores)
        losses = sum(term.weight * self._term(term, scores, desirable, zero) for term in self.terms)
        return targets(trees, "weight", scores.logp) * losses

    def sums(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> dict[str, Any]:
        up = _labels(trees, scores.logp)
        reward, border = self.beta * scores.log_ratio, _or_zero(baseline, scores)
        if self.method.baseline == "kl":  # z₀ is in nats, BCO's δ in units of reward
            border = self.beta * border
        return (
            policy_sums(scores[up], scores[~up])
            | label_sums(reward, up, border)
            | {"baseline": total(_or_zero(baseline, scores).reshape(1))}
        )

    def record(self, scores: Scores) -> Record:
        return Record(self.beta * scores.log_ratio)

    def _term(self, term: Term, scores: Scores, desirable: Tensor, baseline: Tensor) -> Tensor:
        if term.method.shape == "demonstration":
            return torch.where(desirable, term.method.fn(scores) / scores.length.clamp(min=1), 0.0)
        losses: Tensor = term.method.fn(scores, desirable, baseline, **term.settings)
        return losses


def _labels(trees: Sequence[PromptTree], like: Tensor) -> Tensor:
    return torch.tensor([bool(tree.targets["label"]) for tree in trees], device=like.device)


def _or_zero(baseline: Tensor | None, scores: Scores) -> Tensor:
    return scores.logp.new_zeros(()) if baseline is None else baseline.to(scores.logp)
