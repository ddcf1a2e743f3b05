"""Held-out figures: loss, accuracy with its 95 % interval, calibration, and what length has to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.errors import EngineError
from training.engine.objectives import Examples, Record
from training.engine.passes import Passes
from training.engine.trees import PromptTree

Z_95 = 1.959963984540054
BINS = 10

Array = NDArray[np.float64]


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927, JASA 22, p. 209); (0, 1) when n is 0."""
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z_95**2 / (2 * n)
    spread = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    scale = 1 + Z_95**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def evaluate(passes: Passes, examples: Examples, *, between: Callable[[], None] | None = None) -> dict[str, Any]:
    """Figures of a whole split, in one pass: {"loss", "n", …} as means and, where the method has them, accuracy with
    its interval and the figures of pairs (`pair_figures`) and lengths.

    `decided` is how many judgements the accuracy is over: pairs on which the annotators were exactly split are left
    out, and a list has all its ordered pairs. As the pairs of one list lean on each other, the interval counts a list
    once.
    """
    sums = passes.over(examples, passes.cut(examples.trees), between=between)
    figures: dict[str, Any] = {**sums.metrics(), "n": len(examples)}
    if not all(math.isfinite(value) for value in figures.values()):
        raise EngineError("A held-out figure is not a finite number: the training diverged. Lower learning_rate.")
    decided = sums.count("accuracy")
    if decided:
        independent = min(decided, len(examples))
        low, high = wilson_interval(figures["accuracy"] * independent, independent)
        figures |= {"accuracy_low": low, "accuracy_high": high, "decided": int(decided)}
    return figures | record_figures(sums.records)


def record_figures(records: Sequence[tuple[Sequence[PromptTree], Record]]) -> dict[str, Any]:
    """What single examples tell: `length_correlation`, the Spearman correlation of reward and length in tokens over
    all completions (left out where one of them does not vary), and of pairs `ece`, `brier` and `slices`."""
    if not records:
        return {}
    trees = [tree for members, _ in records for tree in members]
    reward = np.concatenate([_array(record.reward) for _, record in records])
    lengths = [_lengths(tree) for tree in trees]
    correlation = spearman(reward, np.array([length for tree in lengths for length in tree], dtype=float))
    figures: dict[str, Any] = {} if correlation is None else {"length_correlation": correlation}
    known = [_array(record.probability) for _, record in records if record.probability is not None]
    if not known:
        return figures
    probability = np.concatenate(known)
    p = np.array([1.0 if tree.targets.get("p") is None else tree.targets["p"] for tree in trees])
    gaps = np.array([first - second for first, second in lengths], dtype=float)
    names = [tree.targets.get("slice") for tree in trees]
    return figures | calibration(probability, p) | {"slices": slices(probability, p, gaps, names)}


def calibration(probability: Array, p: Array) -> dict[str, float]:
    """How far probabilities that the chosen completion is better can be believed; `p` are the observed shares.

    `brier` is the mean of (probability - p)² (Brier 1950). `ece`, the expected calibration error (Guo et al.,
    arXiv:1706.04599, equation 3), looks at the completion that the model prefers, because which one of a pair comes
    first says nothing: ten bins of equal width from ½ to 1, and in each the distance of the mean probability from the
    mean share that agreed, weighted by the share of pairs in the bin. Both are 0 at best; tossing coins has a Brier
    score of ¼ and is calibrated.
    """
    confidence = np.maximum(probability, 1 - probability)
    agreed = np.where(probability >= 0.5, p, 1 - p)
    bins = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    distances = [abs(float((confidence - agreed)[bins == number].sum())) for number in range(BINS)]
    return {"ece": sum(distances) / len(p), "brier": float(((probability - p) ** 2).mean())}


def slices(probability: Array, p: Array, gaps: Array, names: Sequence[str | None]) -> dict[str, dict[str, float]]:
    """Accuracy, with its interval, of the pairs whose preferred completion is longer, shorter or as long as the other
    one, and of every name in the rows' column `slice`. Undecided pairs are in none; an empty slice is left out.

    `gaps` are tokens of the first completion minus those of the second.
    """
    decided = p != 0.5
    correct = ((probability > 0.5) & (p > 0.5)) | ((probability < 0.5) & (p < 0.5))
    preferred = np.where(p > 0.5, gaps, -gaps)
    members: dict[str, NDArray[np.bool_]] = {
        "chosen_longer": preferred > 0,
        "chosen_shorter": preferred < 0,
        "equal_length": preferred == 0,
    }
    for name in sorted({name for name in names if name is not None}):
        members[name] = np.array([other == name for other in names])
    found = {}
    for name, member in members.items():
        n = int((member & decided).sum())
        if n:
            right = int((member & decided & correct).sum())
            low, high = wilson_interval(right, n)
            found[name] = {"n": n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high}
    return found


def spearman(left: Array, right: Array) -> float | None:
    """Spearman's rank correlation, equal values sharing their mean rank; None where a side does not vary."""
    first, second = _ranks(left), _ranks(right)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    mean_rank: Array = (ends - (counts - 1) / 2)[inverse]
    return mean_rank


def _lengths(tree: PromptTree) -> Sequence[int]:
    """Tokens of the completions themselves, also where a preference model reads two as one."""
    lengths: Sequence[int] | None = tree.targets.get("lengths")
    return [len(completion) for completion in tree.completions] if lengths is None else lengths


def _array(tensor: Any) -> Array:
    values: Array = tensor.detach().double().cpu().numpy()
    return values
