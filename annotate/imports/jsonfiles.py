"""JSON in its three shapes: one object a line, one list (perhaps inside an object), objects one after the other.

Values are cut out of the bytes before they are parsed, so a broken or endless one costs itself and not the file,
memory stays bounded, and one strict parser reads them all. (An event parser such as ijson holds a string of any
length, takes the last of two equal keys, and cannot go on after a mistake.)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Literal

from annotate.imports.limits import HEAD_BYTES, MAX_ROW_BYTES, MIB
from annotate.imports.opening import BOM
from annotate.imports.problems import RowError, Unreadable
from annotate.imports.rows import CONTENT_KEYS
from annotate.imports.strict import parse_json

Read = tuple[object, int]  # the row or the RowError that it is, and its bytes

OUTSIDE = re.compile(rb'["\[\]{},]')
INSIDE = re.compile(rb'["\\]')
TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\[\]{},:]')
TAIL = MIB  # what may follow the list in its object


def too_long() -> RowError:
    return RowError("row", f"The row is longer than {MAX_ROW_BYTES // MIB} MiB. Shorten it, or leave it out.")


def parsed(raw: bytes) -> Read:
    """One value: the row, or what is wrong with it."""
    try:
        return parse_json(raw.decode("utf-8")), len(raw)
    except UnicodeDecodeError as error:
        return RowError("row", f"Byte {error.start} of the row is not UTF-8. Save the file as UTF-8."), len(raw)
    except RowError as error:
        return error, len(raw)


def read_lines(stream: BufferedReader) -> Iterator[Read]:
    """One object a line. Blank lines are no rows; a line that is too long is passed over in pieces."""
    for line in bounded_lines(stream):
        if line is None:
            yield too_long(), 0
        elif not line.isspace():
            yield parsed(line)


def bounded_lines(stream: BufferedReader) -> Iterator[bytes | None]:
    """Lines with their ends; None for one that is longer than a row may be."""
    while line := stream.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(HEAD_BYTES)
        yield None


@dataclass
class _Splitter:
    """Cuts top-level values out of chunks of bytes: the elements of a list, or objects that follow one another.

    It knows strings and brackets and nothing else; what stands between them is for the parser to judge.
    """

    listed: bool
    depth: int = 0
    in_string: bool = False
    size: int = 0
    part: bytearray = field(default_factory=bytearray)
    escaped: bool = False
    tail: bytes | None = None  # what followed the end of the list

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The values that end in this chunk; None for one that is too long."""
        at, start = int(self.escaped), 0
        self.escaped = False
        while match := (INSIDE if self.in_string else OUTSIDE).search(chunk, at):
            mark, at = match[0], match.end()
            if self.in_string:
                if mark == b'"':
                    self.in_string = False
                else:
                    at += 1
                    self.escaped = at > len(chunk)
            elif mark == b'"':
                self.in_string = True
            elif mark in b"[{":
                self.depth += 1
            elif self.listed and self.depth == 0 and mark in b",]":
                self.tail = chunk[at:] if mark == b"]" else None
                yield self._cut(chunk[start : match.start()])
                start = at
                if self.tail is not None:
                    return
            elif mark in b"]}" and self.depth:
                self.depth -= 1
                if not self.listed and self.depth == 0:
                    yield self._cut(chunk[start:at])
                    start = at
        self._keep(chunk[start:])

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size <= MAX_ROW_BYTES:
            self.part += piece

    def _cut(self, piece: bytes) -> bytes | None:
        self._keep(piece)
        value = bytes(self.part) if self.size <= MAX_ROW_BYTES else None
        self.part.clear()
        self.size = 0
        return value


def read_list(stream: BufferedReader, wrapped: bool) -> Iterator[Read]:
    """The elements of a list of which the opening bracket has been read."""
    splitter, first = _Splitter(listed=True), True
    while splitter.tail is None:
        if not (chunk := stream.read(HEAD_BYTES)):
            raise Unreadable(
                "The JSON list is not closed: the file breaks off. Upload it again, or close the list with ]."
            )
        for value in splitter.feed(chunk):
            if value is None:
                yield too_long(), 0
            elif value.strip() or not (first and splitter.tail is not None):
                yield parsed(value)
            first = False
    _check_tail(splitter.tail + stream.read(TAIL - len(splitter.tail)), wrapped)


def _check_tail(tail: bytes, wrapped: bool) -> None:
    """After the list only its object may go on, and not with a second list."""
    if not wrapped:
        if tail.strip():
            raise Unreadable(
                "Something follows the end of the JSON list. Put all rows into one list, or one on each line."
            )
        return
    depth = 1
    for match in TOKEN.finditer(tail):
        mark = match[0]
        if mark == b"[" and depth == 1:
            raise Unreadable(
                "The file holds more than one list. Upload one file for each, or put all rows into one list."
            )
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
    if depth:
        raise Unreadable("The JSON object around the list is not closed properly. Check the end of the file.")


def read_objects(stream: BufferedReader) -> Iterator[Read]:
    """Objects over several lines each, one after the other."""
    splitter = _Splitter(listed=False)
    while chunk := stream.read(HEAD_BYTES):
        for value in splitter.feed(chunk):
            yield (too_long(), 0) if value is None else parsed(value)
    if splitter.size > MAX_ROW_BYTES or splitter.part.strip():
        raise Unreadable(
            "The last JSON object is not closed: the file breaks off. Upload it again, or close it with }."
        )


@dataclass(frozen=True)
class JsonShape:
    name: Literal["lines", "list", "objects"]
    skip: int = 0  # bytes before the first row
    wrapped: bool = False


def shape_of(head: bytes) -> JsonShape:
    """Which of the shapes begins so. `head` starts with { or [, after blank space or a byte order mark."""
    start = len(head) - len(head.removeprefix(BOM).lstrip())
    if head[start : start + 1] == b"[":
        return JsonShape("list", start + 1)
    bom = len(BOM) if head.startswith(BOM) else 0
    keys, listed_at, end = _first_object(head, start)
    alone = end is not None and len(head) < HEAD_BYTES and not head[end:].strip()
    if listed_at is not None and not CONTENT_KEYS & keys and (end is None or alone):
        return JsonShape("list", listed_at, wrapped=True)
    line = head[start:].partition(b"\n")[0]
    if end is not None:
        return JsonShape("lines" if start + len(line) >= end else "objects", bom)
    broken_off = line.rstrip()[-1:] in (b"{", b",", b"[") and len(line) + start < len(head)
    return JsonShape("objects" if broken_off else "lines", bom)


def _first_object(head: bytes, start: int) -> tuple[set[str], int | None, int | None]:
    """Of the object that begins the file: its keys, where a list of objects in it begins, where it ends."""
    keys: set[str] = set()
    depth, listed_at, word = 0, None, b""
    for match in TOKEN.finditer(head, start):
        mark = match[0]
        if mark == b":" and depth == 1:
            keys.add(word.strip(b'"').decode(errors="replace"))
        elif mark in (b"{", b"["):
            if mark == b"[" and depth == 1 and head[match.end() :].lstrip()[:1] == b"{":
                listed_at = match.end() if listed_at is None else listed_at
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth <= 0:
                return keys, listed_at, match.end()
        elif mark.startswith(b'"'):
            word = mark
    return keys, listed_at, None
