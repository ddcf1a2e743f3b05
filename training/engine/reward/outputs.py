"""What the outputs of a reward model's head stand for, and how they become one value."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

OutputKind = Literal["value", "ensemble", "aspects", "groups"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """O named outputs; the value of a completion is their mean weighted by ``shares``, which add up to one.

    ``value``: the reward itself. ``ensemble``: heads that differ in their beginning and in the rows they were given.
    ``aspects``: what was rated. ``groups``: annotators, each group an offset from what all of them share.
    """

    kind: OutputKind = "value"
    names: tuple[str, ...] = ("value",)
    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.kind not in ("value", "ensemble", "aspects", "groups") or len(set(self.names)) != len(self.shares):
            raise ValueError(f"outputs {self.kind!r} {self.names} with shares {self.shares} make no sense")
        if not all(share >= 0 for share in self.shares) or not math.isclose(sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares {self.shares} are no weights of a mean")

    @classmethod
    def ensemble(cls, heads: int) -> Outputs:
        """``heads`` outputs of one meaning."""
        return cls("ensemble", tuple(str(head) for head in range(heads)), (1 / heads,) * heads)

    @classmethod
    def aspects(cls, names: Sequence[str]) -> Outputs:
        """One output for every aspect; the value is their plain mean."""
        return cls("aspects", tuple(names), (1 / len(names),) * len(names))

    @classmethod
    def groups(cls, weights: Mapping[str, float]) -> Outputs:
        """One output for every group of annotators; ``weights`` is how much of the training data each of them gave."""
        total = sum(weights.values())
        return cls("groups", tuple(weights), tuple(weight / total for weight in weights.values()))

    @property
    def rows(self) -> int:
        """Rows of the head's weight matrix: groups have the shared one before their offsets."""
        return len(self.names) + (self.kind == "groups")

    def compose(self, rows: Tensor) -> Tensor:
        """What the rows of the head gave [..., rows] as outputs [..., O]."""
        return rows[..., :1] + rows[..., 1:] if self.kind == "groups" else rows

    def combine(self, each: Tensor) -> Tensor:
        """Outputs [..., O] as values [...]."""
        return (each * each.new_tensor(self.shares)).sum(-1)


def bootstrap_weights(seed: int, row: int, heads: int) -> list[float]:
    """How often each head is shown a row: Poisson(1) draws, the same whenever they are asked for.

    The Poisson bootstrap resamples rows one by one, so no head needs a list of the data (Chamandy et al. 2012,
    "Estimating uncertainty for massive data streams").
    """
    return [float(_poisson_one(random.Random(f"bootstrap:{seed}:{row}:{head}"))) for head in range(heads)]  # noqa: S311


def _poisson_one(draw: random.Random) -> int:
    """Knuth's method: how many uniform numbers can be multiplied before the product falls below e⁻¹."""
    count, product = 0, draw.random()
    while product > math.exp(-1.0):
        count += 1
        product *= draw.random()
    return count
