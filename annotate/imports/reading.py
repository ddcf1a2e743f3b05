"""From a file to its rows: one door for all kinds."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from annotate.imports import csvfiles, jsonfiles, parquetfiles
from annotate.imports.jsonfiles import Read
from annotate.imports.limits import MIB
from annotate.imports.opening import BOM, KINDS, head_of, no_table, open_content, refuse_others
from annotate.imports.problems import Unreadable


@dataclass(frozen=True)
class Reading:
    """Rows one at a time, each the row or the RowError that it is, with its bytes; and how far they are, 0 to 1."""

    rows: Iterator[Read]
    fraction: Callable[[], float]


@contextmanager
def reading(path: Path) -> Iterator[Reading]:
    """The rows of a file of whatever kind. Raises Unreadable, at once or from where the file breaks."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb", buffering=0))
        size = max(path.stat().st_size, 1)
        stream = open_content(file)
        head = head_of(stream)
        if head.startswith(parquetfiles.MAGIC):
            table = parquetfiles.open_parquet(stack.enter_context(_seekable(stream)))
            total = max(table.metadata.num_rows, 1)
            rows = _Counted(_some(parquetfiles.read_parquet(table)))
            yield Reading(rows, lambda: min(rows.count / total, 1.0))
            return
        refuse_others(head)
        yield Reading(_some(_text_rows(stream, head)), lambda: min(file.tell() / size, 1.0))


def _some(rows: Iterator[Read]) -> Iterator[Read]:
    """The rows. Raises Unreadable where there are none: whoever imports such a file meant another one."""
    row = None
    for row in rows:
        yield row
    if row is None:
        raise Unreadable(f"There are no rows in the file. Upload rows as {KINDS}.")


def check_head(head: bytes) -> None:
    """Refuse at once, by its first bytes, what could not be imported anyway. Raises Unreadable."""
    if head.startswith((b"\x1f\x8b", parquetfiles.MAGIC)):
        return
    refuse_others(head)
    if not _is_json(head) and not csvfiles.is_table(head):
        raise no_table(head)


def _is_json(head: bytes) -> bool:
    return head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


def _text_rows(stream: BufferedReader, head: bytes) -> Iterator[Read]:
    if not _is_json(head):
        return csvfiles.read_csv(stream, head)
    shape = jsonfiles.shape_of(head)
    stream.read(shape.skip)
    if shape.name == "list":
        return jsonfiles.read_list(stream, shape.wrapped)
    return jsonfiles.read_lines(stream) if shape.name == "lines" else jsonfiles.read_objects(stream)


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Parquet is read from its end, so a packed one is unpacked to a nameless file first."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as unpacked:
        while chunk := stream.read(MIB):
            unpacked.write(chunk)
        unpacked.seek(0)
        yield unpacked


class _Counted:
    def __init__(self, rows: Iterator[Read]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Read]:
        return self

    def __next__(self) -> Read:
        self.count += 1
        return next(self._rows)
