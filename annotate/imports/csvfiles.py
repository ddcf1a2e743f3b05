"""CSV: the first line names the columns; cells are texts, JSON where a key wants more than a text."""

import csv
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from annotate.imports.jsonfiles import Read, bounded_lines, too_long
from annotate.imports.limits import MAX_COLUMNS, MAX_ROW_BYTES, MIB
from annotate.imports.opening import BOM, no_table
from annotate.imports.problems import RowError, Unreadable, shown
from annotate.imports.rows import KNOWN_KEYS
from annotate.imports.strict import parse_json

DELIMITERS = (",", ";", "\t")
JSON_CELLS = {"completions", "ranking", "reasons", "metadata"}
CHAT_CELLS = {"prompt", "chosen", "rejected", "completion"}
FLAG_CELLS = {"label", "both_bad"}
NUMBER_CELLS = {"strength": int, "seconds": float}
FLAGS = {"true": True, "yes": True, "1": True, "up": True, "false": False, "no": False, "0": False, "down": False}

csv.field_size_limit(MAX_ROW_BYTES)  # for the whole process: a row is bounded before the csv module sees it


class _Lines:
    """Feeds lines to csv.reader, and minds how much one record has eaten."""

    def __init__(self, stream: BufferedReader) -> None:
        self._lines = bounded_lines(stream)
        self.number = 0
        self.record_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            if line is None:
                raise too_long()
            self.record_bytes += len(line)
            if self.record_bytes > MAX_ROW_BYTES:
                raise Unreadable(
                    f"A quotation mark is opened and not closed within {MAX_ROW_BYTES // MIB} MiB, up to line"
                    f" {self.number:,}. Close it; where a text holds quotation marks, double them."
                )
            yield line.decode("utf-8", "surrogateescape")


def is_table(head: bytes) -> bool:
    """Whether the first line names columns that we know."""
    return _delimiter(head) is not None


def _delimiter(head: bytes) -> str | None:
    line = head.removeprefix(BOM).lstrip().split(b"\n", 1)[0].decode(errors="replace")
    for delimiter in DELIMITERS:
        names = {_column(name) for name in line.rstrip("\r").replace('"', "").split(delimiter)}
        if "prompt" in names or {"chosen", "rejected"} <= names:
            return delimiter
    return None


def _column(name: str) -> str:
    """Known columns are understood in any case, with blanks around them."""
    return name.strip().lower() if name.strip().lower() in KNOWN_KEYS else name.strip()


def read_csv(stream: BufferedReader, head: bytes) -> Iterator[Read]:
    """Rows of a table of which nothing has been read."""
    delimiter = _delimiter(head)
    if delimiter is None:
        raise no_table(head)
    stream.read(len(BOM) if head.startswith(BOM) else 0)
    lines = _Lines(stream)
    records = csv.reader(iter(_Restarting(lines)), delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        lines.record_bytes = 0
        began = lines.number + 1
        try:
            cells = next(records)
        except StopIteration:
            return
        except RowError as error:
            yield error, 0
            continue
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise _open_quote(began) from None
            yield (
                RowError("row", f"Line {began:,} is no CSV ({error}). Quote the text; double quotes inside."),
                0,
            )
            continue
        if not any(cells):
            continue
        if not columns:
            columns = _columns(cells)
        else:
            yield _row(columns, cells), lines.record_bytes


class _Restarting:
    """An iterator that survives the exceptions it raises: csv.reader asks it for the next line afterwards."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._iterator = iter(lines)

    def __iter__(self) -> "_Restarting":
        return self

    def __next__(self) -> str:
        try:
            return next(self._iterator)
        except RowError:
            self._iterator = iter(self._lines)
            raise


def _open_quote(line: int) -> Unreadable:
    return Unreadable(
        f"The row that begins in line {line:,} opens a quotation mark and never closes it, so what follows was read as"
        " part of it. Close it; where a text holds quotation marks, double them."
    )


def _columns(cells: list[str]) -> list[str]:
    if len(cells) > MAX_COLUMNS:
        raise Unreadable(f"The table has {len(cells):,} columns; at most {MAX_COLUMNS} are read. Leave out the others.")
    columns = [_column(cell) for cell in cells]
    if twice := [name for n, name in enumerate(columns) if name and name in columns[:n]]:
        raise Unreadable(f"Two columns are called “{shown(twice[0])}”. Rename or remove one of them.")
    return columns


def _row(columns: list[str], cells: list[str]) -> object:
    if len(cells) != len(columns):
        return RowError(
            "row",
            f"The row has {len(cells):,} cells and the header {len(columns)}. "
            " Put texts with separators or line breaks in quotes.",
        )
    try:
        return {name: _value(name, cell) for name, cell in zip(columns, cells, strict=True) if name and cell}
    except RowError as error:
        return error


def _value(name: str, cell: str) -> Any:
    """What a cell stands for. An empty one is no value."""
    if name in JSON_CELLS:
        return parse_json(cell, name)
    if name in CHAT_CELLS and cell.lstrip().startswith("[") and '"role"' in cell:
        return parse_json(cell, name)
    if name in FLAG_CELLS:
        if cell.strip().lower() not in FLAGS:
            raise RowError(name, f"“{name}” is “{shown(cell)}”; write true or false.")
        return FLAGS[cell.strip().lower()]
    if name in NUMBER_CELLS:
        try:
            return NUMBER_CELLS[name](cell)
        except ValueError:
            raise RowError(name, f"“{name}” is “{shown(cell)}”; write a number.") from None
    return cell
