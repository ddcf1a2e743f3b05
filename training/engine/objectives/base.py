"""What every objective is: a method's loss over batches, and the figures to watch beside it.

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
from training.engine.methods import trains_reward
from training.engine.scorer import score
from training.engine.terms import read_terms
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


@dataclass(frozen=True)
class Record:
    """What evaluation wants of single examples, without gradient: the `reward` of every completion [N], the
    `probability` of each of their `comparisons` [B], and the ratings that are predicted, by aspect [N]."""

    reward: Tensor
    probability: Tensor | None = None
    aspects: Mapping[str, Tensor] | None = None

    def cpu(self) -> Record:
        """The same on the CPU."""
        return Record(
            self.reward.cpu(),
            None if self.probability is None else self.probability.cpu(),
            None if self.aspects is None else {name: one.cpu() for name, one in self.aspects.items()},
        )


@dataclass
class Contribution:
    """Sums over a micro-batch: `loss` is Σ weight·loss with its graph, `sums[name]` is (Σ value, count)."""

    loss: Tensor
    sums: dict[str, tuple[Tensor, float]] = field(default_factory=dict)
    record: Record | None = None


class Objective(ABC):
    """The loss of a method, with the terms that the setting `plus` adds to it."""

    def __init__(self, method: str, config: Mapping[str, Any] | None = None) -> None:
        self.method = LOSSES[method]
        given = config or {}
        self.settings = {name: given.get(name, value) for name, value in self.method.defaults().items()}
        self.beta = float(self.settings.get("beta", 1.0))
        self.terms = read_terms(self.method, given)
        self.extras = frozenset[str]().union(*(term.method.extras for term in self.terms))
        self.needs_reference = not trains_reward(self.method, self.settings) and any(
            term.method.needs_reference for term in self.terms
        )

    def weight(self, tree: PromptTree) -> float:
        """What a tree adds to the divisor of the step's loss."""
        return float(tree.targets["weight"])

    @abstractmethod
    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        """The sums of one batch: `reference` float32 [N] and `baseline` a scalar where the method needs them; `step`
        is the number of the optimiser step, for methods that draw at random."""

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        """The mean loss of these trees while the policy equals its reference; None where that says nothing."""
        return None

    def first_slope(self, trees: Sequence[PromptTree]) -> float:
        """By how much that loss changes for a nat by which the first completion of each tree leads the others."""
        return 0.0

    def finish(self, model: nn.Module) -> None:  # noqa: B027 - most methods have nothing to do
        """Bring the trained model into the form in which it is evaluated and saved; doing it twice does no harm."""


class PolicyObjective(Objective):
    """Objectives that see a policy's log-probs only, so that the loss can be had from scores alone."""

    @abstractmethod
    def losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Tensor:
        """Weighted losses, one per item."""

    @abstractmethod
    def sums(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> dict[str, Any]:
        """The figures to watch, without gradient."""

    def record(self, scores: Scores) -> Record | None:
        """What to keep of single examples."""
        return None

    def scores(self, model: nn.Module, batch: Batch, reference: Tensor | None) -> Scores:
        """What the policy says of a batch."""
        return score(model, batch, reference=reference, extras=self.extras)

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        return self.contribution(batch.trees, self.scores(model, batch, reference), baseline)

    def contribution(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Contribution:
        """The sums of one batch, of which the policy says ``scores``."""
        loss = self.losses(trees, scores, baseline).sum()
        with torch.no_grad():
            return Contribution(loss, self.sums(trees, scores, baseline), self.record(scores))

    def first_loss(self, trees: Sequence[PromptTree]) -> float | None:
        """Known when the loss looks at log-ratios only, that is, when it is the same at any level of log-probs."""
        total = sum(map(self.weight, trees))
        if not self.needs_reference or not total:
            return None
        found = [float(self.losses(trees, _at_reference(trees, level), torch.zeros(())).sum()) for level in (0.0, -1.0)]
        return found[0] / total if abs(found[0] - found[1]) <= 1e-6 * abs(found[0]) else None

    def first_slope(self, trees: Sequence[PromptTree]) -> float:
        lead = 1e-2
        moved = self.losses(trees, _at_reference(trees, 0.0, lead=lead), torch.zeros(())).sum()
        still = self.losses(trees, _at_reference(trees, 0.0), torch.zeros(())).sum()
        return float((moved - still).abs()) / (lead * sum(map(self.weight, trees)))


def targets(trees: Sequence[PromptTree], name: str, like: Tensor, *, default: float = 0.0) -> Tensor:
    """A target of every tree as [G], on the device and in the type of `like`; `default` where a row does not say."""
    given = [tree.targets.get(name) for tree in trees]
    return torch.tensor([default if one is None else one for one in given], dtype=like.dtype, device=like.device)


def _at_reference(trees: Sequence[PromptTree], level: float, *, lead: float = 0.0) -> Scores:
    """Scores of a policy that equals its reference, with `level` nats per token; `lead` nats apart from it, up for the
    first completion of a tree and down for the others."""
    lengths = torch.tensor([len(completion) for tree in trees for completion in tree.completions])
    logp = (level * lengths).double()
    side = torch.tensor([lead if k == 0 else -lead for tree in trees for k in range(len(tree.completions))])
    # A certainty that moves with the level tells losses apart that look at it: their first loss depends on the model.
    return Scores(logp + side, lengths, logp, logp + side, logp, torch.full((len(lengths),), level))
