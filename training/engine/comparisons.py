"""What was said about the completions of a tree, as something that a probability can be held against."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from training.engine.trees import PromptTree


class Comparison(NamedTuple):
    """Completion ``first`` against ``second``, or by itself (``second`` is None); ``p`` is the share of judgements in
    its favour, a tie counted as half."""

    first: int
    second: int | None
    p: float


def comparisons(tree: PromptTree) -> list[Comparison]:
    """The pair of a tree, all pairs of a list of which one was ranked, or the thumb of a single completion; none for a
    demonstration or a row that has ratings only."""
    targets = tree.targets
    if "rank" in targets:
        places = [place if place >= 0 else len(targets["rank"]) for place in targets["rank"]]
        pairs = combinations(range(len(places)), 2)
        return [
            Comparison(first, second, 0.5 + 0.5 * ((places[first] < places[second]) - (places[first] > places[second])))
            for first, second in pairs
            if min(places[first], places[second]) < len(places)
        ]
    if len(tree.completions) == 2:
        return [Comparison(0, 1, 1.0 if targets.get("p") is None else targets["p"])]
    label = targets.get("label")
    return [] if label is None else [Comparison(0, None, float(label))]
