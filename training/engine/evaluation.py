"""Held-out figures: loss, accuracy with its 95 % interval, calibration, and what length has to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.comparisons import comparisons
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
    its interval and what single examples tell (`record_figures`).

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
    all completions (left out where one of them does not vary); `ece`, `brier` and `slices` of what was compared
    (`comparisons`); and of ratings the `aspects`."""
    if not records:
        return {}
    trees = [tree for members, _ in records for tree in members]
    reward = _joined([record.reward for _, record in records])
    lengths = [_lengths(tree) for tree in trees]
    correlation = spearman(reward, np.array([length for tree in lengths for length in tree], dtype=float))
    figures: dict[str, Any] = {} if correlation is None else {"length_correlation": correlation}
    known = [record.probability for _, record in records if record.probability is not None]
    said = [(owner, one) for owner, tree in enumerate(trees) for one in comparisons(tree)]
    if known and said:
        probability, p = _joined(known), np.array([one.p for _, one in said])
        gaps = [
            math.nan if one.second is None else lengths[owner][one.first] - lengths[owner][one.second]
            for owner, one in said
        ]
        owners = [owner for owner, _ in said]
        names = [_names(trees[owner]) for owner in owners]
        figures |= calibration(probability, p)
        figures["slices"] = slices(probability, p, np.array(gaps, dtype=float), names, owners)
    rated = [record.aspects for _, record in records if record.aspects is not None]
    if rated:
        figures["aspects"] = aspects({name: _joined([one[name] for one in rated]) for name in rated[0]}, trees)
    return figures


def calibration(probability: Array, p: Array) -> dict[str, float]:
    """How far probabilities that a completion is better, or good, can be believed; `p` are the observed shares.

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


def slices(
    probability: Array, p: Array, gaps: Array, names: Sequence[Sequence[str]], owners: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Accuracy, with its interval, of the pairs whose preferred completion is longer, shorter or as long as the other
    one, and of everything that has a name in common. What is undecided is in none; an empty slice is left out.

    `gaps` are tokens of the first completion minus those of the second, NaN for completions by themselves; `owners`
    are the examples that the comparisons are of, of which an interval counts each once.
    """
    decided = p != 0.5
    correct = ((probability > 0.5) & (p > 0.5)) | ((probability < 0.5) & (p < 0.5))
    preferred = np.where(p > 0.5, gaps, -gaps)
    members: dict[str, NDArray[np.bool_]] = {
        "chosen_longer": preferred > 0,
        "chosen_shorter": preferred < 0,
        "equal_length": preferred == 0,
    }
    for name in sorted({name for of_one in names for name in of_one}):
        members[name] = np.array([name in of_one for of_one in names])
    found = {}
    for name, member in members.items():
        inside = member & decided
        n = int(inside.sum())
        if n:
            share = int((inside & correct).sum()) / n
            independent = len(set(np.asarray(owners)[inside]))
            low, high = wilson_interval(share * independent, independent)
            found[name] = {"n": n, "accuracy": share, "accuracy_low": low, "accuracy_high": high}
    return found


def aspects(predicted: Mapping[str, Array], trees: Sequence[PromptTree]) -> dict[str, dict[str, float]]:
    """How well each aspect's ratings are predicted: over how many rows `n`, `rmse`, the root of the mean squared error
    in the ratings' own unit, and their Spearman `correlation` (left out where one of them does not vary)."""
    found = {}
    for name, values in predicted.items():
        given = [(tree.targets.get("ratings") or {}).get(name, math.nan) for tree in trees]
        rated = np.array(given, dtype=float)
        here = ~np.isnan(rated)
        if here.any():
            errors, correlation = (values - rated)[here], spearman(values[here], rated[here])
            found[name] = {"n": int(here.sum()), "rmse": float(np.sqrt((errors**2).mean()))}
            found[name] |= {} if correlation is None else {"correlation": correlation}
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


def _names(tree: PromptTree) -> list[str]:
    """The slices that a row's columns `slice` and `group` put it into."""
    return [f"{column}:{name}" for column in ("slice", "group") if (name := tree.targets.get(column)) is not None]


def _joined(parts: Sequence[Any]) -> Array:
    values: Array = np.concatenate([part.detach().double().cpu().numpy() for part in parts])
    return values
