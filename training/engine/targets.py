"""What a dataset row says about its completions, read into the targets of a prompt tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.engine.rows import Row, column, flag, label, number, numbers, ranking, ranks, ratings

Targets = dict[str, Any]


def read_targets(row: Row, kind: str) -> Targets:
    """The targets of a row, by the kind of its dataset (listed at PromptTree); a column that is missing or null is
    None, except as noted.

    Raises EngineError with row, column and cure for a value of the wrong kind or out of bounds.
    """
    weight = number(row, "weight", default=1.0, minimum=0.0)
    return READERS[kind](row) | {"weight": weight}


def _pairwise(row: Row) -> Targets:
    p, tie = number(row, "p", default=None, minimum=0.0, maximum=1.0), _tie(row)
    if p is None and tie:
        p = 1 - tie / 2  # what ties leave is the chosen one's; p = 1 would say that they were settled
    return {
        "p": p,
        "margin": _margin(row),
        "offset": number(row, "offset", default=None),
        "gap": number(row, "gap", default=None),
        "tie": tie,
        "group": label(row, "group"),
        "slice": label(row, "slice"),
    }


def _margin(row: Row) -> float | None:
    """Column `margin`, else a third of the annotator's `strength` (1 slightly, 2 better, 3 much better), as our own
    datasets count it."""
    margin = number(row, "margin", default=None)
    strength = number(row, "strength", default=None, minimum=1.0, maximum=3.0)
    return strength / 3 if margin is None and strength is not None else margin


def _tie(row: Row) -> float:
    """The probability that neither is better: column `tie`, else the share of tied votes, else 0."""
    tie = number(row, "tie", default=None, minimum=0.0, maximum=1.0)
    if tie is not None:
        return tie
    votes = [number(row, f"votes_{side}", default=0.0, minimum=0.0) for side in ("tie", "chosen", "rejected")]
    return votes[0] / sum(votes) if sum(votes) else 0.0


def _binary(row: Row) -> Targets:
    rated = ratings(row, "ratings")
    # A rating says more than a thumb, so a row that has one needs no other.
    thumb = None if rated is not None and column(row, "label", None) is None else flag(row, "label")
    return {"label": thumb, "ratings": rated, "group": label(row, "group"), "slice": label(row, "slice")}


def _listwise(row: Row) -> Targets:
    """Ranks from the column `ranks`, else from `ranking`, else from the rewards; rewards from `rewards`, else from
    `scores` (the share of its votes that a completion won, in datasets built here)."""
    count = len(column(row, "completions"))
    rewards = numbers(row, "rewards", count=count)
    rewards = numbers(row, "scores", count=count) if rewards is None else rewards
    rank, ordered = ranks(row, "ranks", count=count), ranking(row, "ranking", count=count)
    if rank is not None and ordered is not None:
        raise row.error("ranking", "the row has ranks as well; leave one of them out.")
    rank = ordered if rank is None else rank
    if rank is None and rewards is None:
        what = "the row has no ranks, ranking, rewards or scores; write one of them, a number per completion."
        raise row.error("ranks", what)
    if rank is None:
        places = sorted(set(rewards or ()), reverse=True)
        rank = [places.index(reward) for reward in rewards or ()]
    given = None if rewards is None else tuple(rewards)
    return {"rank": tuple(rank), "rewards": given, "slice": label(row, "slice")}


def _demonstration(row: Row) -> Targets:
    return {}


READERS = {"pairwise": _pairwise, "binary": _binary, "listwise": _listwise, "demonstration": _demonstration}


def keep_of_list(targets: Targets, kept: Sequence[int]) -> Targets:
    """The targets of a list of which only the completions `kept` remain, with ranks 0, 1, … again."""
    rank, rewards = [targets["rank"][index] for index in kept], targets["rewards"]
    places = sorted({place for place in rank if place >= 0})
    return targets | {
        "rank": tuple(places.index(place) if place >= 0 else -1 for place in rank),
        "rewards": None if rewards is None else tuple(rewards[index] for index in kept),
    }


def is_decided(rank: Sequence[int]) -> bool:
    """Whether a list puts one completion before another: one that was not ranked (-1) is behind those that were."""
    return len(set(rank)) > 1
