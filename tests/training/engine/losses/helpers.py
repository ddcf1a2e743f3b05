"""Completions as probabilities of their tokens, and what the losses see of them.

Expectations are derived from likelihoods (products of probabilities, in float64) and never from log-space expressions
of the code under test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from training.engine.losses import LOSSES, Scores
from training.engine.methods import Method

VOCABULARY = 6


class Completions:
    """One side of B pairs, or N single completions: per completion the probability of each of its tokens under the
    policy and under the reference, and the policy's collision probability Σ_v π_v² at each token."""

    def __init__(self, policy: list[np.ndarray], reference: list[np.ndarray], collision: list[np.ndarray]) -> None:
        self.policy, self.reference, self.collision = policy, reference, collision
        self.length = np.array([len(tokens) for tokens in policy], float)
        self.likelihood = np.array([tokens.prod() for tokens in policy])
        self.ratio = self.likelihood / [tokens.prod() for tokens in reference]
        self.geometric_mean = self.likelihood ** (1 / self.length)
        self.mean_nll = np.array([-np.mean(np.log(tokens)) for tokens in policy])

    def tail_weighted(self, shared: np.ndarray, alpha: float) -> np.ndarray:
        """Likelihood ratios in which the tokens behind the first `shared` ones count `alpha`."""
        found = []
        for policy, reference, count in zip(self.policy, self.reference, shared.astype(int), strict=True):
            ratio = policy / reference
            found.append(ratio[:count].prod() * ratio[count:].prod() ** alpha)
        return np.array(found)

    def certainty_weight(self) -> np.ndarray:
        """Geometric mean over tokens of π / Σ_v π_v²."""
        pairs = zip(self.policy, self.collision, strict=True)
        return np.array([(policy / collision).prod() ** (1 / len(policy)) for policy, collision in pairs])

    def scores(self, shared: np.ndarray) -> Scores:
        """What a loss is given, float64."""
        shared = shared.astype(int)
        certainty = [np.mean(np.log(p / c)) for p, c in zip(self.policy, self.collision, strict=True)]
        return Scores(
            logp=_sums(self.policy),
            length=torch.tensor(self.length),
            ref_logp=_sums(self.reference),
            prefix_logp=_sums([tokens[:count] for tokens, count in zip(self.policy, shared, strict=True)]),
            ref_prefix_logp=_sums([tokens[:count] for tokens, count in zip(self.reference, shared, strict=True)]),
            certainty=torch.tensor(certainty),
        )


def _sums(completions: list[np.ndarray]) -> torch.Tensor:
    return torch.tensor([np.log(tokens).sum() for tokens in completions])


def completions(lengths: list[int], seed: int, *, same: frozenset[int] = frozenset()) -> Completions:
    """Random completions; those in `same` have the same probability under the policy as under the reference."""
    draw = np.random.default_rng(seed)
    policy, reference, collision = [], [], []
    for index, length in enumerate(lengths):
        distributions = draw.dirichlet(np.full(VOCABULARY, 1.5), size=length)
        tokens = np.arange(length), draw.integers(VOCABULARY, size=length)
        policy.append(distributions[tokens])
        collision.append((distributions**2).sum(1))
        other = draw.dirichlet(np.full(VOCABULARY, 1.5), size=length)[tokens]
        reference.append(policy[-1] if index in same else other)
    return Completions(policy, reference, collision)


# Six pairs: the chosen one longer, shorter and as long; log-ratios of both signs; the last is as its reference has it.
CHOSEN = completions([3, 7, 4, 2, 9, 5], seed=11, same=frozenset({5}))
REJECTED = completions([6, 2, 4, 8, 3, 5], seed=23, same=frozenset({5}))
SHARED = np.minimum(CHOSEN.length, REJECTED.length)
P = np.array([1.0, 0.8, 0.5, 0.65, 0.1, 0.9])
OFFSET = np.array([0.0, 1.0, 0.4, -0.5, 2.5, 0.3])
GAP = np.array([0.0, 1.5, -0.7, 3.0, 0.2, 1.0])


def pair() -> tuple[Scores, Scores]:
    """The six pairs as a loss sees them."""
    return CHOSEN.scores(SHARED), REJECTED.scores(SHARED)


def tensors(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with arrays as tensors."""
    return {name: torch.tensor(one) if isinstance(one, np.ndarray) else one for name, one in settings.items()}


def assert_close(found: torch.Tensor, expected: Any) -> None:
    """Equal to twelve digits, in float64."""
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def cases(derivations: Mapping[str, tuple[Any, list[dict[str, Any]]]]) -> list[tuple[str, dict[str, Any]]]:
    """Every derivation at the method's defaults and at the other settings it lists."""
    return [(name, settings) for name, (_, others) in derivations.items() for settings in ({}, *others)]


def complete(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a loss function, with its defaults."""
    method = LOSSES[name]
    return {key: value for key, value in method.defaults().items() if key in method.passed} | dict(settings)


def variants(method: Method) -> list[dict[str, Any]]:
    """The settings to try a method at: each word of a choice, else the defaults."""
    words = [(one.name, word) for one in method.parameters if one.choices for word in one.choices]
    return [{name: word} for name, word in words if name in method.passed] or [{}]
