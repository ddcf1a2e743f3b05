"""What one micro-batch adds to a step, by the shape of the method's data.

An objective returns sums, never means: the trainer divides by the count over the whole optimiser step, so the gradient
does not depend on how a step is cut into micro-batches (TRL issues #2456 and #5710 are what happens otherwise).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.engine.batch import Batch
from training.engine.losses import LOSSES, Scores
from training.engine.methods import METHODS
from training.engine.reward import RewardModel
from training.engine.scorer import score, values
from training.engine.trees import PromptTree


@dataclass(frozen=True)
class Examples:
    """The trees of one split and, beside each, what the method needs to know about it.

    `reference[i]` is float32 [K], the reference's log-probs of tree i. `mismatched[i]` is its prompt with an answer to
    another prompt, for KTO's baseline, and None where none fits; `mismatched_reference[i]` belongs to it.
    """

    trees: Sequence[PromptTree]
    reference: Sequence[Tensor] | None = None
    mismatched: Sequence[PromptTree | None] | None = None
    mismatched_reference: Sequence[Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.trees)


@dataclass
class Contribution:
    """Sums over a micro-batch: `loss` is Σ weight·loss with its graph, `sums[name]` is (Σ value, count)."""

    loss: Tensor
    sums: dict[str, tuple[Tensor, float]] = field(default_factory=dict)


class Objective(ABC):
    """The loss of a method over batches of one shape of data, and the figures to watch beside it."""

    def __init__(self, method: str, parameters: Mapping[str, Any]) -> None:
        self.method = method
        self.loss = LOSSES[method]
        self.parameters = dict(parameters)
        self.beta = float(self.parameters.get("beta", 1.0))

    def weight(self, tree: PromptTree) -> float:
        """What a tree adds to the divisor of the step's loss."""
        return float(tree.targets["weight"])

    @abstractmethod
    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None
    ) -> Contribution:
        """The sums of one batch: `reference` float32 [N], `baseline` the scalar z₀, where the method needs them."""

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        """The mean loss of these trees while the policy equals its reference; None where that says nothing."""
        return None

    def _mean(self, trees: Sequence[PromptTree], losses: Tensor) -> float | None:
        total = sum(map(self.weight, trees))
        return float(losses.sum()) / total if total else None


class PairwiseObjective(Objective):
    """Pairs with soft labels: p·loss(chosen, rejected) + (1 - p)·loss(rejected, chosen), times the pair's weight."""

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None
    ) -> Contribution:
        scores = score(model, batch, reference=reference)
        chosen, rejected = scores[0::2], scores[1::2]
        loss = self._losses(batch.trees, scores).sum()
        sums = {
            "chosen_logp": _sum(chosen.logp),
            "rejected_logp": _sum(rejected.logp),
            # Nats per token of the better answer: it rises when a policy games its labels.
            "chosen_nll": (-chosen.logp.detach().sum(), float(chosen.length.sum())),
        }
        if scores.ref_logp is not None:
            margin = self.beta * (chosen.log_ratio - rejected.log_ratio)
            sums |= _pair_sums(margin, _targets(batch.trees, "p", margin))
        return Contribution(loss, sums)

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        return self._mean(trees, self._losses(trees, _scores_at_reference(trees)))

    def _losses(self, trees: Sequence[PromptTree], scores: Scores) -> Tensor:
        chosen, rejected = scores[0::2], scores[1::2]
        p, weight = _targets(trees, "p", scores.logp), _targets(trees, "weight", scores.logp)
        forward = self.loss.fn(chosen, rejected, **self.parameters)
        backward = self.loss.fn(rejected, chosen, **self.parameters)
        return weight * (p * forward + (1 - p) * backward)


class RewardObjective(Objective):
    """Pairs for a reward model, with margin and soft label."""

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None
    ) -> Contribution:
        assert isinstance(model, RewardModel)
        rewards = values(model, batch)
        chosen, rejected = rewards[0::2], rewards[1::2]
        p, weight = _targets(batch.trees, "p", rewards), _targets(batch.trees, "weight", rewards)
        margin = _targets(batch.trees, "margin", rewards)
        losses = self.loss.fn(chosen, rejected, margin, p, **self.parameters)
        sums = _pair_sums(chosen - rejected, p)
        sums["reward"] = _sum(rewards)
        sums["reward_square"] = _sum(rewards.double().square())
        return Contribution((weight * losses).sum(), sums)


class UnpairedObjective(Objective):
    """Single completions with a thumb up or down, against a baseline measured over the step."""

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None
    ) -> Contribution:
        scores = score(model, batch, reference=reference)
        baseline = torch.zeros((), device=scores.logp.device) if baseline is None else baseline
        loss = self._losses(batch.trees, scores, baseline).sum()
        up = _labels(batch.trees, scores.logp)
        ratio = scores.log_ratio.detach()
        sums = {
            "accuracy": (((ratio > baseline) == up).sum(), float(up.numel())),
            "chosen_logp": _sum(scores.logp[up]),
            "rejected_logp": _sum(scores.logp[~up]),
            "chosen_reward": _sum(self.beta * ratio[up]),
            "rejected_reward": _sum(self.beta * ratio[~up]),
            "baseline": _sum(baseline.reshape(1)),
        }
        return Contribution(loss, sums)

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        return self._mean(trees, self._losses(trees, _scores_at_reference(trees), torch.zeros(())))

    def _losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor) -> Tensor:
        losses = self.loss.fn(scores, _labels(trees, scores.logp), baseline, **self.parameters)
        return _targets(trees, "weight", scores.logp) * losses


class DemonstrationObjective(Objective):
    """Imitation: the mean over all tokens of the step, a completion's tokens times its weight."""

    def weight(self, tree: PromptTree) -> float:
        return super().weight(tree) * sum(map(len, tree.completions))

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None
    ) -> Contribution:
        scores = score(model, batch, reference=reference)
        losses = _targets(batch.trees, "weight", scores.logp)[batch.group] * self.loss.fn(scores, **self.parameters)
        return Contribution(losses.sum(), {"chosen_logp": _sum(scores.logp)})


SHAPES: dict[str, type[Objective]] = {
    "pairwise": PairwiseObjective,
    "reward": RewardObjective,
    "unpaired": UnpairedObjective,
    "demonstration": DemonstrationObjective,
}


def make_objective(method: str, config: Mapping[str, Any] | None = None) -> Objective:
    """The objective of a method; its parameters are taken out of a run's config, or are the defaults."""
    entry = METHODS[method]
    known = entry.defaults()
    return SHAPES[entry.shape](method, {name: (config or {}).get(name, value) for name, value in known.items()})


def _targets(trees: Sequence[PromptTree], name: str, like: Tensor) -> Tensor:
    """A target of every tree as [G], on the device and in the type of `like`; a missing margin is 0."""
    given = [tree.targets[name] for tree in trees]
    return torch.tensor([0.0 if value is None else value for value in given], dtype=like.dtype, device=like.device)


def _labels(trees: Sequence[PromptTree], like: Tensor) -> Tensor:
    return torch.tensor([bool(tree.targets["label"]) for tree in trees], device=like.device)


def _sum(values: Tensor) -> tuple[Tensor, float]:
    return values.detach().sum(), float(values.numel())


def _pair_sums(margin: Tensor, p: Tensor) -> dict[str, tuple[Tensor, float]]:
    """Margin and accuracy of pairs; a pair on which the annotators were exactly split has no right order."""
    decided = p != 0.5
    correct = torch.where(p > 0.5, margin > 0, margin < 0) & decided
    return {"margin": _sum(margin), "accuracy": (correct.sum(), float(decided.sum()))}


def _scores_at_reference(trees: Sequence[PromptTree]) -> Scores:
    """Scores of a policy that equals its reference; the losses of such methods look at the ratio only."""
    lengths = torch.tensor([len(completion) for tree in trees for completion in tree.completions])
    zeros = torch.zeros(len(lengths))
    return Scores(zeros, lengths, zeros)
