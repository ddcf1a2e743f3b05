"""Held-out figures: loss, and accuracy with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from training.engine.batch import micro_batches
from training.engine.errors import EngineError
from training.engine.objectives import Examples
from training.engine.passes import Passes

Z_95 = 1.959963984540054


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927, JASA 22, p. 209); (0, 1) when n is 0."""
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z_95**2 / (2 * n)
    spread = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    scale = 1 + Z_95**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def evaluate(
    passes: Passes, examples: Examples, *, token_budget: int, between: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Means over a whole split: {"loss", "n", …} and, where the method has one, accuracy with its interval.

    `decided` is how many examples the accuracy is over: pairs on which the annotators were exactly split are left out.
    """
    groups = micro_batches(examples.trees, range(len(examples)), layout=passes.layout, token_budget=token_budget)
    sums = passes.over(examples, groups, between=between)
    figures: dict[str, Any] = {**sums.metrics(), "n": len(examples)}
    if not all(math.isfinite(value) for value in figures.values()):
        raise EngineError("A held-out figure is not a finite number: the training diverged. Lower learning_rate.")
    decided = sums.count("accuracy")
    if decided:
        low, high = wilson_interval(figures["accuracy"] * decided, decided)
        figures |= {"accuracy_low": low, "accuracy_high": high, "decided": int(decided)}
    return figures
