"""Lists: the completions of a tree, ranked or with rewards, for a policy or for a reward model."""

from __future__ import annotations

import inspect
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.engine.batch import Batch
from training.engine.comparisons import comparisons
from training.engine.diagnostics import policy_sums, rank_sums, total
from training.engine.losses import Scores
from training.engine.methods import trains_reward
from training.engine.objectives.base import Contribution, Objective, Record, targets
from training.engine.objectives.reward import reward_model, reward_sums, views
from training.engine.scorer import score
from training.engine.terms import Term
from training.engine.trees import PromptTree


class ListwiseObjective(Objective):
    """Lists, weighted: the values are β·(log π - log π_ref) of a policy, or what a reward model gives.

    `sft` as a further term acts on the best completions of a list.
    """

    def __init__(self, method: str, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(method, config)
        self.seed = int((config or {}).get("seed", 0))
        self.trains_reward = trains_reward(self.method, self.settings)

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        if self.trains_reward:
            return self._of_rewards(model, batch)
        scores = score(model, batch, reference=reference)
        worth = self.beta * scores.log_ratio
        loss = self.losses(batch.trees, worth, scores, noise=self.noise(batch.trees, step, worth)).sum()
        with torch.no_grad():
            best, worst = _ends(batch.trees, worth.device)
            sums = _list_sums(batch.trees, worth) | policy_sums(scores[best], scores[worst])
            return Contribution(loss, sums, _record(batch.trees, worth))

    def _of_rewards(self, model: nn.Module, batch: Batch) -> Contribution:
        inner, each = reward_model(model), model(batch, each=True)
        losses = [times * self.losses(batch.trees, view, None) for view, times in views(inner, each, batch)]
        loss = torch.stack(losses).sum()
        with torch.no_grad():
            rewards = inner.outputs.combine(each)
            # What puts a completion before others of its list; what a head adds to all of them says nothing.
            group = _group(batch.trees, each.device)
            counts = torch.bincount(group)[:, None]
            level = each.new_zeros(len(counts), each.shape[1]).index_add(0, group, each) / counts
            sums = _list_sums(batch.trees, rewards) | reward_sums(inner, rewards, each - level[group])
            return Contribution(loss, sums, _record(batch.trees, rewards))

    def losses(
        self, trees: Sequence[PromptTree], worth: Tensor, scores: Scores | None, *, noise: Tensor | None = None
    ) -> Tensor:
        """Weighted losses [G] from the values [N] of the completions and, for a term `sft`, their scores."""
        parts = [term.weight * self._term(term, trees, worth, scores, noise) for term in self.terms]
        return targets(trees, "weight", worth) * sum(parts[1:], parts[0])

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        """Known for a policy, whose values are all 0 while it equals its reference, whatever is drawn."""
        weight = sum(map(self.weight, trees))
        if self.trains_reward or not weight or any(term.method.shape != "listwise" for term in self.terms):
            return None
        zeros = torch.zeros(sum(len(tree.completions) for tree in trees))
        return float(self.losses(trees, zeros, None, noise=zeros).sum()) / weight

    def noise(self, trees: Sequence[PromptTree], step: int, like: Tensor) -> Tensor | None:
        """Standard Gumbel noise [N] for methods that draw, None for others.

        It is a function of seed, step, row and completion alone, so neither the cut into micro-batches nor a resume
        changes what is drawn.
        """
        if not any(_takes(term, "noise") for term in self.terms):
            return None
        drawn: list[float] = []
        for tree in trees:
            draw = random.Random(f"noise:{self.seed}:{step}:{tree.row}")  # noqa: S311 - a draw, not a secret
            drawn += [-math.log(max(draw.expovariate(1.0), 1e-300)) for _ in tree.completions]
        return torch.tensor(drawn, dtype=like.dtype, device=like.device)

    def _term(
        self, term: Term, trees: Sequence[PromptTree], worth: Tensor, scores: Scores | None, noise: Tensor | None
    ) -> Tensor:
        group, rank = _group(trees, worth.device), _rank(trees, worth.device)
        if term.method.shape == "demonstration":
            assert scores is not None
            return _mean_of(term.method.fn(scores) / scores.length.clamp(min=1), group, rank == 0, len(trees))
        given: dict[str, Tensor | None] = {"noise": noise, "rewards": _rewards(trees, worth)}
        given = {name: value for name, value in given.items() if _takes(term, name)}
        losses: Tensor = term.method.fn(worth, group, rank, **term.settings, **given)
        return losses


def _list_sums(trees: Sequence[PromptTree], worth: Tensor) -> dict[str, Any]:
    """Accuracy over the ordered pairs and at the first place, rewards, and the lead of the best over the worst."""
    group, rank = _group(trees, worth.device), _behind(_rank(trees, worth.device))
    lists, (best, worst) = len(trees), _ends(trees, worth.device)
    lowest = worth.new_full((lists,), -math.inf)
    others = lowest.scatter_reduce(0, group[~best], worth[~best], "amax")
    first = lowest.scatter_reduce(0, group[best], worth[best], "amax") > others
    return rank_sums(worth, group, rank) | {
        "margin": total(_mean_of(worth, group, best, lists) - _mean_of(worth, group, worst, lists)),
        "top_accuracy": total(first.float()),
    }


def _record(trees: Sequence[PromptTree], worth: Tensor) -> Record:
    """Rewards, and by Bradley and Terry the probability that the first of two compared completions is better."""
    starts = [0, *itertools.accumulate(len(tree.completions) for tree in trees)]
    pairs = [
        (start + one.first, start + one.second)
        for start, tree in zip(starts, trees, strict=False)
        for one in comparisons(tree)
        if one.second is not None
    ]
    first, second = torch.tensor(pairs, device=worth.device).unbind(1)
    return Record(worth.detach(), torch.sigmoid(worth[first] - worth[second]).detach())


def _takes(term: Term, name: str) -> bool:
    return name in inspect.signature(term.method.fn).parameters


def _group(trees: Sequence[PromptTree], device: torch.device) -> Tensor:
    """The tree [N] of each completion."""
    counts = torch.tensor([len(tree.completions) for tree in trees], device=device)
    return torch.arange(len(trees), device=device).repeat_interleave(counts)


def _rank(trees: Sequence[PromptTree], device: torch.device) -> Tensor:
    return torch.tensor([place for tree in trees for place in tree.targets["rank"]], device=device)


def _rewards(trees: Sequence[PromptTree], like: Tensor) -> Tensor:
    """Rewards [N], NaN in rows without any: the loss makes them of the ranks."""
    known = [tree.targets["rewards"] or [math.nan] * len(tree.completions) for tree in trees]
    return torch.tensor([one for rewards in known for one in rewards], dtype=like.dtype, device=like.device)


def _ends(trees: Sequence[PromptTree], device: torch.device) -> tuple[Tensor, Tensor]:
    """Which completions are the best and which the worst of their lists, bool [N] each."""
    group, rank = _group(trees, device), _behind(_rank(trees, device))
    return rank == 0, rank == rank.new_zeros(len(trees)).scatter_reduce(0, group, rank, "amax")[group]


def _behind(rank: Tensor) -> Tensor:
    """Completions that were not ranked get a place behind all others."""
    return rank.where(rank >= 0, rank.max() + 1)


def _mean_of(values: Tensor, group: Tensor, chosen: Tensor, lists: int) -> Tensor:
    """The mean over the chosen completions of each list, [G]."""
    sums = values.new_zeros(lists).index_add(0, group[chosen], values[chosen])
    return sums / torch.bincount(group[chosen], minlength=lists)
