"""Pairs: the chosen completion of a tree is its first, the rejected one its second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.engine.diagnostics import pair_sums, policy_sums
from training.engine.losses import Scores
from training.engine.objectives.base import PolicyObjective, Record, targets
from training.engine.terms import Term
from training.engine.trees import PromptTree


class PairwiseObjective(PolicyObjective):
    """Pairs with soft labels: p·loss(chosen, rejected) + (1 - p)·loss(rejected, chosen), times the pair's weight.

    A loss that takes p itself gets it instead.
    """

    def losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Tensor:
        chosen, rejected = scores[0::2], scores[1::2]
        losses = sum(term.weight * self._term(term, trees, chosen, rejected) for term in self.terms)
        return targets(trees, "weight", scores.logp) * losses

    def sums(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> dict[str, Any]:
        rewards = self._rewards(scores)
        p = targets(trees, "p", rewards, default=1.0)
        return policy_sums(scores[0::2], scores[1::2]) | pair_sums(rewards[0::2], rewards[1::2], p)

    def record(self, scores: Scores) -> Record:
        rewards = self._rewards(scores)
        return Record(rewards, torch.sigmoid(rewards[0::2] - rewards[1::2]))

    def _rewards(self, scores: Scores) -> Tensor:
        """What the method ranks by [N]: β times log-ratios or, without a reference, log-probs; sums, or means per
        token for the methods that compare those."""
        if self.method.needs_reference:
            return self.beta * (scores.mean_log_ratio if self.method.per_token else scores.log_ratio)
        return self.beta * (scores.mean_logp if self.method.per_token else scores.logp)

    def _term(self, term: Term, trees: Sequence[PromptTree], chosen: Scores, rejected: Scores) -> Tensor:
        if term.method.shape == "demonstration":
            return term.method.fn(chosen) / chosen.length.clamp(min=1)
        settings = dict(term.settings)
        for parameter in term.method.parameters:
            if parameter.column is not None:
                settings[parameter.name] = _column(trees, parameter.column, settings[parameter.name], chosen.logp)
        forward: Tensor = term.method.fn(chosen, rejected, **settings)
        p = targets(trees, "p", chosen.logp, default=1.0)
        if "p" in settings or bool((p == 1).all()):
            return forward
        return p * forward + (1 - p) * term.method.fn(rejected, chosen, **_turned(settings))


def _column(trees: Sequence[PromptTree], name: str, setting: float, like: Tensor) -> Tensor:
    """What the rows say, the setting where they do not; an offset that is missing is the strength, if there is one."""
    fallback = targets(trees, "margin", like, default=setting) if name == "offset" else like.new_full((), setting)
    missing = torch.tensor([tree.targets.get(name) is None for tree in trees], device=like.device)
    return torch.where(missing, fallback, targets(trees, name, like))


def _turned(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the other direction: a teacher's gap changes its sign with the sides."""
    return settings | {"gap": -settings["gap"]} if "gap" in settings else settings
