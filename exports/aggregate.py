"""From the judgements of one item to the rows of a dataset. Pure functions over plain dictionaries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exports.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion as a dataset sees it."""

    uid: str
    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One item with its counted judgements: `verdicts` in the order in which they were given, `judgements` their ids,
    `annotators` by whom. `slice` is the part of the data that it belongs to, `group` whose judgements these are."""

    key: str
    prompt_sha256: str
    prompt: list[dict[str, str]]
    kind: str
    candidates: tuple[Candidate, ...]
    verdicts: tuple[dict[str, Any], ...]
    judgements: tuple[int, ...]
    annotators: tuple[str, ...]
    slice: str | None = None
    group: str | None = None

    @property
    def id(self) -> str:
        return self.key if self.group is None else f"{self.key}:{self.group}"

    def common(self) -> dict[str, Any]:
        return {
            "slice": self.slice,
            "group": self.group,
            "prompt_sha256": self.prompt_sha256,
            "prompt": self.prompt,
            "weight": 1.0,
            "n_judgements": len(self.verdicts),
            "judgements": list(self.judgements),
        }


def by_group(judged: Judged, recipe: Recipe) -> Iterator[Judged]:
    """The item once for each of the recipe's groups that judged it, and last for those in none; as it is where the
    recipe has no groups."""
    group_of = {name: group for group, names in recipe.groups.items() for name in names}
    for group in (*recipe.groups, None):
        said = [n for n, annotator in enumerate(judged.annotators) if group_of.get(annotator) == group]
        if said:
            yield replace(
                judged,
                group=group,
                verdicts=tuple(judged.verdicts[n] for n in said),
                judgements=tuple(judged.judgements[n] for n in said),
                annotators=tuple(judged.annotators[n] for n in said),
            )


@dataclass(frozen=True, slots=True)
class PairVotes:
    """What annotators said about a pair: votes for the first and second candidate, ties, and both bad.

    `strength` is the mean over decisive and tied votes of 1..3 signed towards the first; None where nobody gave one.
    """

    first: int
    second: int
    ties: int
    both_bad: int
    strength: float | None


def count_votes(judged: Judged) -> PairVotes:
    """One vote per judgement. “Both bad” is an outcome of its own and never a tie."""
    first_uid = judged.candidates[0].uid
    votes = {"first": 0, "second": 0, "ties": 0, "both_bad": 0}
    strengths: list[int] = []
    for verdict in judged.verdicts:
        ranking = verdict.get("ranking") or []
        if verdict.get("both_bad"):
            votes["both_bad"] += 1
        elif len(ranking) == 1:
            votes["ties"] += 1
            strengths.append(0)
        elif len(ranking) == 2:
            side = 1 if ranking[0][0] == first_uid else -1
            votes["first" if side == 1 else "second"] += 1
            if verdict.get("strength"):
                strengths.append(side * int(verdict["strength"]))
    signed = sum(strengths) / len(strengths) if any(strengths) else None
    return PairVotes(**votes, strength=signed)


def pairwise_rows(judged: Judged, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """At most one row: chosen, rejected, `p` (probability that chosen is better, at least .5) and `margin`.

    margin is the mean strength towards chosen over 3, as in Llama 2 (arXiv:2307.09288, table 27: 1, 2/3, 1/3), or None.
    """
    votes = count_votes(judged)
    counted = votes.first + votes.second + votes.ties
    if counted == 0:
        return
    share = (votes.first + votes.ties / 2) / counted
    if share == 0.5 and recipe.aggregation == "majority":
        return
    first_wins = share >= 0.5
    chosen, rejected = judged.candidates if first_wins else reversed(judged.candidates)
    margin = None
    if votes.strength is not None:
        margin = max(0.0, (votes.strength if first_wins else -votes.strength) / 3)
    yield {
        "id": judged.id,
        **judged.common(),
        "chosen": chosen.text,
        "rejected": rejected.text,
        "p": 1.0 if recipe.aggregation == "majority" else max(share, 1 - share),
        "margin": margin,
        "votes_chosen": votes.first if first_wins else votes.second,
        "votes_rejected": votes.second if first_wins else votes.first,
        "votes_tie": votes.ties,
        "votes_both_bad": votes.both_bad,
        "chosen_completion": chosen.uid,
        "rejected_completion": rejected.uid,
        "chosen_model": chosen.model,
        "rejected_model": rejected.model,
    }


def binary_rows(judged: Judged, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """One row per completion that has a majority of thumbs; `p` is the share of thumbs that agree with the label."""
    for candidate in judged.candidates:
        ups, downs = _thumbs(judged, candidate.uid)
        total = ups + downs
        if total == 0 or (ups == downs and recipe.aggregation == "majority"):
            continue
        label = ups >= downs
        yield {
            "id": f"{judged.id}:{candidate.uid}",
            **judged.common(),
            "completion": candidate.text,
            "label": label,
            "p": 1.0 if recipe.aggregation == "majority" else max(ups, downs) / total,
            "votes_up": ups,
            "votes_down": downs,
            "completion_uid": candidate.uid,
            "model": candidate.model,
        }


def demonstration_rows(judged: Judged, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Completions worth imitating: corrections that people wrote, and by choice those they preferred."""
    found: dict[str, tuple[str, str, str]] = {}
    if "edits" in recipe.demonstrations:
        for verdict in judged.verdicts:
            if edit := verdict.get("edit"):
                found.setdefault(edit["text"], ("edit", edit["completion"], ""))
    by_uid = {candidate.uid: candidate for candidate in judged.candidates}
    if "chosen" in recipe.demonstrations and judged.kind == "pairwise":
        for row in pairwise_rows(judged, recipe):
            winner = by_uid[row["chosen_completion"]]
            found.setdefault(winner.text, ("chosen", winner.uid, winner.model))
    if "thumbs_up" in recipe.demonstrations and judged.kind == "binary":
        for row in binary_rows(judged, recipe):
            if row["label"]:
                found.setdefault(row["completion"], ("thumbs_up", row["completion_uid"], row["model"]))
    for text, (origin, uid, model) in found.items():
        yield {
            "id": f"{judged.key}:{origin}:{uid}",
            **judged.common(),
            "completion": text,
            "origin": origin,
            "completion_uid": uid,
            "model": model,
        }


def _thumbs(judged: Judged, uid: str) -> tuple[int, int]:
    """Thumbs up and down for a completion; a pair counts through who won it, if the recipe lets pairs be labels."""
    ups = downs = 0
    for verdict in judged.verdicts:
        label: bool | None = verdict.get("labels", {}).get(uid)
        ranking: Sequence[Sequence[str]] = verdict.get("ranking") or []
        if verdict.get("both_bad"):
            label = False
        elif len(ranking) == 2:
            label = uid in ranking[0]
        if label is not None:
            ups, downs = ups + label, downs + (not label)
    return ups, downs


# The kinds of which a row can be what one group of annotators said.
GROUPED = ("pairwise", "binary")
ROWS = {"pairwise": pairwise_rows, "binary": binary_rows, "demonstration": demonstration_rows}
