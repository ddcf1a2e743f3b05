"""Prompt trees: one prompt and its K completions as token ids, read from a dataset file.

K = 1 is a demonstration or a thumb up or down, K = 2 a pair (``completions[0]`` is the chosen one). Reading refuses
what would train silently wrong and counts whatever it leaves out; the counts land in ``result.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.errors import EngineError
from training.engine.rendering import ChatRenderer, EncoderRenderer
from training.engine.rows import Row, column, flag, messages, number, read_rows, text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KINDS = ("pairwise", "binary", "demonstration")


@dataclass(frozen=True, slots=True)
class PromptTree:
    """A prompt and its K completions as token ids.

    ``row`` is the 0-based row of the file. ``targets``: pairwise ``{"p", "weight", "margin"}``, binary
    ``{"label", "weight"}``, demonstration ``{"weight"}``. For encoders ``prompt`` is empty and every completion is
    the whole conversation with its special tokens, because an encoder reads all of it at once.
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

    ``truncated`` rows (encoders only) are among the used ones. ``rows_too_long`` and ``rows_identical`` name the
    first twenty. Lengths are tokens; ``length_bias`` is the mean of chosen minus rejected; ``label_share`` the share
    of thumbs up.
    """

    file: str
    kind: str
    rows: int = 0
    used: int = 0
    dropped_too_long: int = 0
    dropped_identical: int = 0
    truncated: int = 0
    max_length: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest: int = 0
    length_bias: float | None = None
    label_share: float | None = None
    rows_too_long: list[int] = field(default_factory=list)
    rows_identical: list[int] = field(default_factory=list)

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
) -> tuple[list[PromptTree], DataReport]:
    """Reads a Parquet or JSONL dataset of ``kind`` into trees of at most ``max_length`` tokens per sequence.

    The boundary between prompt and completion is found in token space: the rendered prompt's ids must be the
    beginning of the rendered conversation's ids. Rows that are too long are left out and counted, never cut; with
    ``encoder=True`` the beginning of the conversation is left out instead, at a message boundary, and counted as
    truncated. ``limit`` stops after that many trees.

    Raises EngineError, with the row, for: a missing or mistyped column, an empty completion, a chat template that is
    missing, moves the boundary, does not end the answer with an end token or repeats the begin token; and when
    nothing is left.
    """
    if kind not in KINDS:
        raise EngineError(f"Datasets of kind {kind!r} cannot be read; known are {', '.join(KINDS)}.", field="kind")
    renderer: ChatRenderer | EncoderRenderer = (EncoderRenderer if encoder else ChatRenderer)(tokenizer, max_length)
    report = DataReport(file=Path(path).name, kind=kind, max_length=renderer.max_length)
    trees: list[PromptTree] = []
    for row in read_rows(path):
        if limit is not None and len(trees) >= limit:
            break
        report.rows += 1
        tree = _tree(row, kind, renderer, report)
        if tree is not None:
            trees.append(tree)
    if not trees:
        raise EngineError(
            f"{report.file} leaves nothing to learn from: of {report.rows} rows, {report.dropped_too_long} are longer "
            f"than {renderer.max_length} tokens and {report.dropped_identical} have two identical completions. "
            "Raise max_length or choose another dataset version.",
            field="data",
        )
    _summarise(trees, report)
    return trees, report


def _tree(row: Row, kind: str, renderer: ChatRenderer | EncoderRenderer, report: DataReport) -> PromptTree | None:
    prompt = messages(row, "prompt")
    names = ("chosen", "rejected") if kind == "pairwise" else ("completion",)
    answers = [text(row, name) for name in names]
    targets = _targets(row, kind)
    rendered = renderer.render(row, prompt, answers)
    if rendered is None:
        report.dropped_too_long += 1
        _note(report.rows_too_long, row.index)
        return None
    if kind == "pairwise" and rendered.completions[0] == rendered.completions[1]:
        report.dropped_identical += 1
        _note(report.rows_identical, row.index)
        return None
    report.truncated += rendered.truncated
    return PromptTree(row.index, rendered.prompt, rendered.completions, targets)


def _targets(row: Row, kind: str) -> dict[str, Any]:
    targets: dict[str, Any] = {"weight": number(row, "weight", default=1.0, minimum=0.0)}
    if kind == "pairwise":
        targets["p"] = number(row, "p", default=1.0, minimum=0.0, maximum=1.0)
        targets["margin"] = None if column(row, "margin", None) is None else number(row, "margin", default=0.0)
    elif kind == "binary":
        targets["label"] = flag(row, "label")
    return targets


def _note(rows: list[int], index: int) -> None:
    if len(rows) < 20:
        rows.append(index)


def _summarise(trees: list[PromptTree], report: DataReport) -> None:
    report.used = len(trees)
    report.prompt_tokens = sum(len(tree.prompt) for tree in trees)
    report.completion_tokens = sum(tree.size - len(tree.prompt) for tree in trees)
    report.longest = max(tree.depth for tree in trees)
    if report.kind == "pairwise":
        gaps = [len(tree.completions[0]) - len(tree.completions[1]) for tree in trees]
        report.length_bias = sum(gaps) / len(gaps)
    if report.kind == "binary":
        report.label_share = sum(bool(tree.targets["label"]) for tree in trees) / len(trees)
