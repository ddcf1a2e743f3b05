"""Prompt trees: one prompt and its K completions as token ids, read from a dataset file.

K = 1 is a demonstration, a thumb up or down or a rating, K = 2 a pair (``completions[0]`` is the chosen one), K ≥ 2 a
ranked list. Reading refuses what would train silently wrong and counts whatever it leaves out; the counts land in
``result.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.conversations import read_conversation
from training.engine.errors import EngineError, NothingLeft
from training.engine.rendering import ChatRenderer, EncoderRenderer
from training.engine.rows import Row, flag, read_rows
from training.engine.targets import READERS, is_decided, keep_of_list, read_targets

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Rows that are named, of those that were left out for one reason or are wrong.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class PromptTree:
    """A prompt and its K completions as token ids.

    ``row`` is the 0-based row of the file. ``targets`` by kind of dataset, each with ``weight``:
    pairwise ``p`` (probability that the chosen one is better), ``margin``, ``offset`` and ``gap`` (None where the row
    has none), ``tie`` (probability that neither is better; where a row has no ``p``, ``p`` is 1 - ``tie`` / 2 if that
    is not 0), ``group`` and ``slice`` (names or None);
    listwise ``rank`` (one per completion: 0 is best, equal ranks tie, -1 was not ranked and stands behind the others),
    ``rewards`` (one per completion, higher is better, or None) and ``slice``;
    binary ``label`` (None where there is only a rating), ``ratings`` (numbers by aspect, or None), ``group``,
    ``slice``; demonstration nothing more.
    For encoders ``prompt`` is empty and every completion is the whole conversation with its special tokens, because an
    encoder reads all of it at once.
    """

    row: int
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    targets: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Tokens of this tree when the prompt is shared."""
        return len(self.prompt) + sum(len(completion) for completion in self.completions)

    @property
    def depth(self) -> int:
        """Tokens of the longest single sequence: the prompt and its longest completion."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)


@dataclass(slots=True)
class DataReport:
    """What reading a dataset file found; every row is in exactly one of ``used`` and the ``dropped_…`` counts.

    ``truncated`` rows (encoders only) are among the used ones. ``rows_too_long``, ``rows_identical`` and
    ``rows_tied`` name the first twenty. Lengths are tokens; ``length_bias`` is the mean of chosen minus rejected;
    ``label_share`` the share of thumbs up among the labels. Of lists: ``completions_min`` and ``completions_max`` are
    the smallest and largest K, ``tied_share`` the share of all their pairs that tie, and ``merged_completions`` counts
    those left out because the list holds the same tokens in a better place. ``boundary_merged`` counts rows whose
    prompt and answer the tokenizer would have joined (see ChatRenderer.render), ``ended`` those of the
    ``completions`` that end with an end token, ``ended_otherwise`` those of them that end with another one than the
    tokenizer's own, ``begin_missing`` rows without the begin token that the tokenizer would
    put before other texts.
    """

    file: str
    kind: str
    rows: int = 0
    used: int = 0
    dropped_too_long: int = 0
    dropped_identical: int = 0
    dropped_tied: int = 0
    truncated: int = 0
    boundary_merged: int = 0
    completions: int = 0
    ended: int = 0
    ended_otherwise: int = 0
    begin_missing: int = 0
    max_length: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest: int = 0
    length_bias: float | None = None
    label_share: float | None = None
    completions_min: int | None = None
    completions_max: int | None = None
    merged_completions: int = 0
    tied_share: float | None = None
    rows_too_long: list[int] = field(default_factory=list)
    rows_identical: list[int] = field(default_factory=list)
    rows_tied: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)


def read_trees(
    path: str | Path,
    *,
    kind: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    limit: int | None = None,
    encoder: bool = False,
    conditions: tuple[str, str] | None = None,
) -> tuple[list[PromptTree], DataReport]:
    """Reads a dataset file of ``kind`` into trees of at most ``max_length`` tokens per sequence.

    The boundary between prompt and completion is where a sampler would begin to write: behind the ids of the rendered
    prompt. Rows that are too long are left out and counted, never cut; with
    ``encoder=True`` the beginning of the conversation is left out instead, at a message boundary, and counted as
    truncated. ``limit`` stops after that many trees. ``conditions`` are the texts behind the prompt of a completion
    with a thumb up and with a thumb down (conditional SFT).

    Raises EngineError, with the row, for: a missing or mistyped column, an empty completion, a chat template that is
    missing, moves the boundary, does not end the answer with an end token or repeats the begin token; and when
    nothing is left (NothingLeft). Where several rows are wrong, it is the first one's and names the next ones.
    """
    if kind not in READERS:
        raise EngineError(f"Datasets of kind {kind!r} cannot be read; known are {', '.join(READERS)}.", field="kind")
    renderer: ChatRenderer | EncoderRenderer = (EncoderRenderer if encoder else ChatRenderer)(tokenizer, max_length)
    report = DataReport(file=Path(path).name, kind=kind, max_length=renderer.max_length)
    trees: list[PromptTree] = []
    wrong: list[EngineError] = []
    for row in read_rows(path):
        if limit is not None and len(trees) >= limit:
            break
        report.rows += 1
        try:
            tree = _tree(row, kind, renderer, report, conditions)
        except EngineError as error:
            wrong.append(error)
            if len(wrong) == MOST_NAMED:
                break
            continue
        if tree is not None:
            trees.append(tree)
    if wrong:
        raise _first_of(wrong)
    if not report.rows:
        raise EngineError(f"{report.file} has no rows. Choose another dataset version.", field="data")
    if not trees:
        raise NothingLeft(
            f"{report.file} has no row that can be used: of {report.rows} rows, {report.dropped_too_long} are longer "
            f"than {renderer.max_length} tokens, {report.dropped_identical} have identical completions only and "
            f"{report.dropped_tied} prefer none of theirs. "
            "Raise max_length or choose another dataset version.",
            field="data",
        )
    _summarise(trees, report)
    return trees, report


def _tree(
    row: Row,
    kind: str,
    renderer: ChatRenderer | EncoderRenderer,
    report: DataReport,
    conditions: tuple[str, str] | None,
) -> PromptTree | None:
    said = read_conversation(row, kind)
    targets = read_targets(row, kind)
    if isinstance(renderer, ChatRenderer):
        condition = conditions[0 if flag(row, "label") else 1] if conditions else None
        rendered = renderer.render(row, said.prompt, said.completions, condition=condition, columns=said.columns)
    else:
        rendered = renderer.render(row, said.prompt, said.completions)
    if rendered is None:
        report.dropped_too_long += 1
        _leave_out(row, report.rows_too_long)
        return None
    completions = rendered.completions
    if len(completions) > 1 and len(set(completions)) == 1:
        report.dropped_identical += 1
        _leave_out(row, report.rows_identical)
        return None
    if kind == "listwise":
        kept = _distinct(completions, targets["rank"])
        targets = keep_of_list(targets, kept)
        if not is_decided(targets["rank"]):
            report.dropped_tied += 1
            _leave_out(row, report.rows_tied)
            return None
        report.merged_completions += len(completions) - len(kept)
        completions = tuple(completions[index] for index in kept)
    report.truncated += rendered.truncated
    report.boundary_merged += rendered.merged
    if isinstance(renderer, ChatRenderer):
        last = [completion[-1] for completion in completions]
        report.ended += sum(token in renderer.ends for token in last)
        report.ended_otherwise += sum(token in renderer.ends - {renderer.tokenizer.eos_token_id} for token in last)
        report.begin_missing += renderer.lacks_begin(rendered.prompt)
    return PromptTree(row.index, rendered.prompt, completions, targets)


def _first_of(wrong: Sequence[EngineError]) -> EngineError:
    """The first error, with the numbers of the other rows, so that they can be corrected in one go."""
    first, *others = wrong
    if not others:
        return first
    rows = ", ".join(str(error.row) for error in others) + (", …" if len(wrong) == MOST_NAMED else "")
    return EngineError(f"{first.message} Further rows that are wrong: {rows}.", row=first.row, field=first.field)


def _distinct(completions: Sequence[tuple[int, ...]], rank: Sequence[int]) -> list[int]:
    """Of equal completions the best ranked one, in the order of the row: the same tokens cannot beat themselves."""
    best: dict[tuple[int, ...], int] = {}
    for index in sorted(range(len(completions)), key=lambda index: (rank[index] < 0, rank[index])):
        best.setdefault(completions[index], index)
    return sorted(best.values())


def _leave_out(row: Row, named: list[int]) -> None:
    """Remembers the row among the first that were left out for one reason."""
    if len(named) < MOST_NAMED:
        named.append(row.index)


def _summarise(trees: list[PromptTree], report: DataReport) -> None:
    report.used = len(trees)
    report.prompt_tokens = sum(len(tree.prompt) for tree in trees)
    report.completions = sum(len(tree.completions) for tree in trees)
    report.completion_tokens = sum(tree.size - len(tree.prompt) for tree in trees)
    report.longest = max(tree.depth for tree in trees)
    if report.kind == "pairwise":
        gaps = [len(tree.completions[0]) - len(tree.completions[1]) for tree in trees]
        report.length_bias = sum(gaps) / len(gaps)
    labels = [bool(tree.targets["label"]) for tree in trees if tree.targets.get("label") is not None]
    if labels:
        report.label_share = sum(labels) / len(labels)
    if report.kind == "listwise":
        counts = [len(tree.completions) for tree in trees]
        report.completions_min, report.completions_max = min(counts), max(counts)
        pairs = [one == other for tree in trees for one, other in combinations(tree.targets["rank"], 2)]
        report.tied_share = sum(pairs) / len(pairs)
