"""Pairs and ratings for a reward model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.engine.batch import Batch
from training.engine.diagnostics import label_sums, pair_sums, total
from training.engine.objectives.base import Contribution, Objective, Record, targets
from training.engine.reward import Outputs, RewardModel, bootstrap_weights
from training.engine.reward.model import TIES
from training.engine.reward.prepare import settled_ties


class RewardObjective(Objective):
    """The losses of pairs over the values of a reward model, or over the logits of a preference model.

    ValueError for a model that is not made for the method (see `reward.read_pairs_together` and `reward.prepare`).
    """

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        inner, each = reward_model(model), model(batch, each=True)
        if (self.method.name == "preference_model") != (inner.separator is not None):
            raise ValueError(f"{self.method.name} and a model with separator {inner.separator} do not go together")
        if self.method.name in TIES and inner.ties != self.method.name:
            raise ValueError(f"{self.method.name} needs a model that learns its ties, not one that learns {inner.ties}")
        losses = [
            times * self._losses(inner, batch, view[0::2], view[1::2]) for view, times in views(inner, each, batch)
        ]
        weight = targets(batch.trees, "weight", each)
        with torch.no_grad():
            if inner.separator is not None:
                # Both orders of one pair: what counts is their difference, as much for one side as against the other.
                half = (each[0::2] - each[1::2]) / 4
                each = torch.stack((half, -half), dim=1).flatten(0, 1)
            rewards = inner.outputs.combine(each)
            # What was said is held against what its own group of annotators would say.
            ((own, _),) = views(inner, each, batch)
            p = targets(batch.trees, "p", own, default=1.0)
            sums = reward_sums(inner, rewards, each[0::2] - each[1::2]) | pair_sums(own[0::2], own[1::2], p)
            win, tie, _ = inner.outcomes(own[0::2] - own[1::2]).unbind(-1)
        return Contribution((weight * torch.stack(losses).sum(0)).sum(), sums, Record(rewards, win + tie / 2))

    def _losses(self, model: RewardModel, batch: Batch, chosen: Tensor, rejected: Tensor) -> Tensor:
        """[B], before the weights of the pairs."""
        margin, p = targets(batch.trees, "margin", chosen), targets(batch.trees, "p", chosen, default=1.0)
        if self.method.name not in TIES:
            return sum(
                term.weight * term.method.fn(chosen, rejected, margin, p, **term.settings) for term in self.terms
            )
        tie = chosen.new_tensor([settled_ties(tree.targets) for tree in batch.trees])
        losses: Tensor = self.method.fn(
            chosen, rejected, margin, p, tie, tie_odds=model.tie_odds, **self.terms[0].settings
        )
        return losses


class RatingObjective(Objective):
    """Single completions with ratings per aspect, or with a thumb as 0 or 1."""

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        inner, each = reward_model(model), model(batch, each=True)
        ratings = each.new_tensor([ratings_of(tree.targets, inner.outputs) for tree in batch.trees])
        if inner.outputs.kind == "aspects":
            losses = [self.method.fn(each, ratings)]
        else:
            losses = [times * self.method.fn(view, ratings[:, 0]) for view, times in views(inner, each, batch)]
        loss = (targets(batch.trees, "weight", each) * torch.stack(losses).sum(0)).sum()
        with torch.no_grad():
            rewards = inner.outputs.combine(each)
            sums = reward_sums(inner, rewards, each)
            if inner.outputs.kind == "aspects":
                record = Record(rewards, aspects=dict(zip(inner.outputs.names, each.detach().unbind(1), strict=True)))
            else:
                ((own, _),) = views(inner, each, batch)
                known = ~ratings[:, 0].isnan()
                own, up = own[known], ratings[known, 0] > 0.5
                sums |= label_sums(own, up, own.new_tensor(0.5))
                # Values between thumbs down, 0, and up, 1, are probabilities of a thumb up.
                record = Record(rewards, own.clamp(0.0, 1.0))
            return Contribution(loss, sums, record)


def reward_model(model: nn.Module) -> RewardModel:
    """The reward model inside a wrapper that distributes it."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, RewardModel)
    return inner


def views(model: RewardModel, each: Tensor, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """The values [N] that losses are computed on, and how much each tree counts in them [G].

    The outputs of a single head, or of each row's own group of annotators, count once. The k heads of an ensemble
    count as often as their bootstrap says, over k; without gradient, where nothing is learnt, their mean counts once.
    """
    once = each.new_ones(len(batch.trees))
    if model.outputs.kind == "groups":
        column: dict[str | None, int] = {name: index for index, name in enumerate(model.outputs.names)}
        groups = torch.tensor([column.get(tree.targets.get("group"), -1) for tree in batch.trees], device=each.device)
        of_completion = groups[batch.group]
        own = each.gather(1, of_completion.clamp(min=0)[:, None])[:, 0]
        # A group that the model does not know gets the value that all of them together would give.
        return [(torch.where(of_completion >= 0, own, model.outputs.combine(each)), once)]
    if model.outputs.kind != "ensemble" or not torch.is_grad_enabled():
        return [(model.outputs.combine(each), once)]
    heads = each.shape[1]
    times = each.new_tensor([bootstrap_weights(model.seed, tree.row, heads) for tree in batch.trees])
    return [(each[:, head], times[:, head] / heads) for head in range(heads)]


def reward_sums(model: RewardModel, rewards: Tensor, each: Tensor) -> dict[str, Any]:
    """Level and spread of the rewards [N], how far an ensemble's heads disagree about what was compared, each [B, O],
    and the odds of a tie."""
    sums = {"reward": total(rewards), "reward_square": total(rewards.double().square())}
    if model.outputs.kind == "ensemble":
        sums["uncertainty"] = total(each.std(-1))
    if model.tie_odds is not None:
        sums["tie_odds"] = total(model.tie_odds.reshape(1))
    return sums


def ratings_of(targets: Mapping[str, Any], outputs: Outputs) -> list[float]:
    """A row's ratings in the order of the aspects, or its thumb as 0 or 1; NaN for what it does not say."""
    if outputs.kind == "aspects":
        ratings = targets.get("ratings") or {}
        return [float(ratings.get(aspect, math.nan)) for aspect in outputs.names]
    label = targets.get("label")
    return [math.nan if label is None else float(label)]
