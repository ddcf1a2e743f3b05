"""From the judgements about one prompt to ranked lists. Pure functions over plain dictionaries."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, groupby
from typing import Any

from annotate.services.content import item_key, text_sha256
from exports.aggregate import Candidate, Judged
from exports.recipe import Recipe

# (winner, loser) by uid → votes; a tie is half a vote each way.
Votes = dict[tuple[str, str], float]


def listwise_rows(items: Sequence[Judged], recipe: Recipe) -> Iterator[dict[str, Any]]:
    """One row for every set of completions that were compared with each other, if only through others.

    items: everything that was judged about one prompt. Pairs and rankings of K count alike: a ranking is one vote on
    each of its pairs. `completions` stand best first, with `ranks` (0 is best, equal ranks tie) and `scores`: the
    share of its votes that a completion won, ties half (the Borda score where everybody was compared with everybody).
    Equal scores are told apart by the votes among themselves. Aggregation “majority” decides each pair first, one vote
    for its winner, and leaves out even splits; “soft” counts every vote. A set in which all tie gives no row.
    """
    candidates = {candidate.uid: candidate for item in items for candidate in item.candidates}
    votes = _votes(items)
    if recipe.aggregation == "majority":
        votes = {pair: 1.0 for pair, count in votes.items() if count > votes.get(pair[::-1], 0.0)}
    for uids in _connected(votes):
        tiers = _tiers(uids, votes)
        if len(tiers) > 1:
            yield _row([[candidates[uid] for uid in tier] for tier in tiers], _shares(uids, votes), items)


def _row(tiers: list[list[Candidate]], shares: dict[str, float], items: Sequence[Judged]) -> dict[str, Any]:
    # Inside a tier by content, so that the same judgements always give the same row.
    ordered = [
        (rank, candidate)
        for rank, tier in enumerate(tiers)
        for candidate in sorted(tier, key=lambda candidate: (candidate.text, candidate.model))
    ]
    uids = {candidate.uid for _, candidate in ordered}
    about = [item for item in items if len(uids & {candidate.uid for candidate in item.candidates}) > 1]
    judgements = sorted(judgement for item in about for judgement in item.judgements)
    sha256 = items[0].prompt_sha256
    slices = {item.slice for item in about}
    return {
        "id": item_key(sha256, ((text_sha256(candidate.text), candidate.model) for _, candidate in ordered)),
        "prompt_sha256": sha256,
        "prompt": items[0].prompt,
        "completions": [candidate.text for _, candidate in ordered],
        "ranks": [rank for rank, _ in ordered],
        "scores": [shares[candidate.uid] for _, candidate in ordered],
        "completion_uids": [candidate.uid for _, candidate in ordered],
        "models": [candidate.model for _, candidate in ordered],
        "slice": slices.pop() if len(slices) == 1 else None,
        "weight": 1.0,
        "n_judgements": len(judgements),
        "judgements": judgements,
    }


def _votes(items: Sequence[Judged]) -> Votes:
    """Every pair that a verdict orders or ties. “Both bad” compares nothing."""
    votes: Votes = defaultdict(float)
    for item in items:
        for verdict in item.verdicts:
            ranking = [] if verdict.get("both_bad") else verdict.get("ranking") or []
            for tied in ranking:
                for one, other in combinations(tied, 2):
                    votes[one, other] += 0.5
                    votes[other, one] += 0.5
            for better, worse in combinations(ranking, 2):
                for winner in better:
                    for loser in worse:
                        votes[winner, loser] += 1.0
    return dict(votes)


def _connected(votes: Votes) -> list[list[str]]:
    """Sets of completions between which a chain of comparisons runs, in the order in which they were first voted on."""
    group: dict[str, list[str]] = {}
    for pair in votes:
        one, other = (group.setdefault(uid, [uid]) for uid in pair)
        if one is not other:
            one.extend(other)
            group.update(dict.fromkeys(other, one))
    return list({id(members): members for members in group.values()}.values())


def _shares(uids: Collection[str], votes: Votes) -> dict[str, float]:
    """The share of its votes against the others of `uids` that each one won; a half for one that has none."""
    won, lost = dict.fromkeys(uids, 0.0), dict.fromkeys(uids, 0.0)
    for (winner, loser), count in votes.items():
        if winner in won and loser in won:
            won[winner] += count
            lost[loser] += count
    return {uid: won[uid] / (won[uid] + lost[uid]) if won[uid] + lost[uid] else 0.5 for uid in uids}


def _tiers(uids: Collection[str], votes: Votes) -> list[list[str]]:
    """Best first, ties share a tier: by share of votes, and inside an equal share by the votes among those alone."""
    shares = _shares(uids, votes)
    ordered = sorted(uids, key=lambda uid: -shares[uid])
    tiers = [list(tier) for _, tier in groupby(ordered, key=lambda uid: shares[uid])]
    if len(tiers) == 1:
        return tiers
    return [finer for tier in tiers for finer in _tiers(tier, votes)]
