"""Downloads, made line by line from `data.jsonl` without loading it: standard library only, for the web process.

TRL's types are described in its dataset formats page: preference `{prompt, chosen, rejected}`, unpaired preference
`{prompt, completion, label}`, prompt-completion `{prompt, completion}`; conversational (messages) or standard (text).
It has none for lists, which become their untied pairs.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ANSWERS = ("chosen", "rejected", "completion")
# What a spreadsheet would run as a formula (OWASP ASVS 5.0, 1.2.10), also in its full-width forms.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class Format:
    """How a version can be downloaded. `convert` is None where a stored file is sent as it is."""

    name: str
    title: str
    suffix: str
    content_type: str
    convert: Callable[[Iterator[Row]], Iterator[str]] | None


def read_rows(path: Path, split: str = "") -> Iterator[Row]:
    """The rows of a version's `data.jsonl`, of one split if it is named."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not split or row["split"] == split:
                yield row


def as_lines(rows: Iterator[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def as_csv(rows: Iterator[Row]) -> Iterator[str]:
    """RFC 4180. Lists become JSON; a cell that a spreadsheet would run as a formula gets a leading apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([_cell(value) for value in row.values()])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def as_trl(rows: Iterator[Row]) -> Iterator[str]:
    """TRL's conversational form: messages; the prompt is not repeated in the answers."""
    return as_lines(
        _trl(row, prompt=row["prompt"], answer=lambda text: [{"role": "assistant", "content": text}])
        for row in _pairs(rows)
    )


def as_trl_text(rows: Iterator[Row]) -> Iterator[str]:
    """TRL's standard form: strings. A prompt of one user message is its text; longer ones become a transcript."""
    return as_lines(_trl(row, prompt=_transcript(row["prompt"]), answer=lambda text: text) for row in _pairs(rows))


def _pairs(rows: Iterator[Row]) -> Iterator[Row]:
    """A list as the pairs of which one is better; any other row as it is."""
    for row in rows:
        if "completions" not in row:
            yield row
            continue
        for better, worse in combinations(zip(row["ranks"], row["completions"], strict=True), 2):
            if better[0] < worse[0]:
                yield {"prompt": row["prompt"], "chosen": better[1], "rejected": worse[1]}


def _trl(row: Row, *, prompt: Any, answer: Callable[[str], Any]) -> Row:
    found: Row = {"prompt": prompt}
    for name in ANSWERS:
        if name in row:
            found[name] = answer(row[name])
    for name in ("label", "margin"):
        if row.get(name) is not None:
            found[name] = row[name]
    return found


def _transcript(messages: list[dict[str, str]]) -> str:
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    names = {"user": "Human", "assistant": "Assistant", "system": "System"}
    turns = [f"\n\n{names.get(part['role'], part['role'])}: {part['content']}" for part in messages]
    return "".join(turns) + "\n\nAssistant:"


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


FORMATS = {
    format.name: format
    for format in (
        Format("parquet", "Parquet", "parquet", "application/vnd.apache.parquet", None),
        Format("jsonl", "JSON lines", "jsonl", "application/x-ndjson", as_lines),
        Format("csv", "CSV", "csv", "text/csv; charset=utf-8", as_csv),
        Format("trl", "TRL, conversational", "trl.jsonl", "application/x-ndjson", as_trl),
        Format("trl_text", "TRL, text", "trl-text.jsonl", "application/x-ndjson", as_trl_text),
    )
}
