"""What a file is, told by its first bytes; gzip is taken off, and what is no table of rows is refused by name."""

import gzip
import io
import zlib
from typing import BinaryIO

from annotate.imports.limits import HEAD_BYTES, MAX_PACK_RATIO, PACK_RATIO_FROM
from annotate.imports.problems import Unreadable, shown

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
KINDS = "JSONL, JSON, CSV or Parquet, packed with gzip or not"

# First bytes → what it is, and the cure.
OTHERS: list[tuple[bytes, str]] = [
    (b"PK\x05\x06", "an empty zip archive. Unpack it and upload the file that was meant"),
    (b"\x80\x02", "a Python pickle, which could run programs and is never opened. Save the rows as JSONL"),
    (b"\x80\x03", "a Python pickle, which could run programs and is never opened. Save the rows as JSONL"),
    (b"\x80\x04", "a Python pickle, which could run programs and is never opened. Save the rows as JSONL"),
    (b"\x80\x05", "a Python pickle, which could run programs and is never opened. Save the rows as JSONL"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file. Save the sheet as CSV (UTF-8)"),
    (b"%PDF", "a PDF. Save the rows as JSONL or CSV"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd. Unpack it, or pack it with gzip"),
    (b"BZh", "packed with bzip2. Unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed with xz. Unpack it, or pack it with gzip"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it and upload the file within"),
    (b"Rar!", "a RAR archive. Unpack it and upload the file within"),
    (b"ARROW1", "an Arrow file. Save the table as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream. Save the table as Parquet"),
    (b"\x93NUMPY", "a NumPy array. Save the rows as JSONL"),
    (b"\x89HDF", "an HDF5 file. Save the rows as Parquet or JSONL"),
    (b"SQLite format 3", "an SQLite database. Save a table of it as CSV or JSONL"),
    (b"\x7fELF", "a program. Upload a table of rows"),
    (b"MZ", "a program. Upload a table of rows"),
    (b"\x89PNG", "an image. Upload a table of rows"),
    (b"\xff\xd8\xff", "an image. Upload a table of rows"),
    (b"GIF8", "an image. Upload a table of rows"),
    (b"\xff\xfe", "text in UTF-16 or UTF-32. Save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16. Save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "text in UTF-32. Save it as UTF-8"),
]


class Unpacked(io.RawIOBase):
    """The content of a gzip stream. Stops with Unreadable at a break, and at a content out of all proportion."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unpacker = gzip.GzipFile(fileobj=packed)
        self._bytes = 0
        self._break: Unreadable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io asks for any buffer
        """Fills the buffer, except at the end. A break is raised after what came before it has been handed out."""
        filled = 0
        while filled < len(buffer) and self._break is None:
            try:
                chunk = self._unpacker.read1(len(buffer) - filled)
            except EOFError:
                self._break = Unreadable("The gzip file breaks off before its end. Upload it again, or pack it again.")
                break
            except (OSError, zlib.error):
                self._break = Unreadable("The gzip file is damaged from here on. Upload it again, or pack it again.")
                break
            if not chunk:
                break
            buffer[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            self._check_ratio(len(chunk))
        if not filled and self._break is not None:
            raise self._break
        return filled

    def _check_ratio(self, more: int) -> None:
        self._bytes += more
        if self._bytes > PACK_RATIO_FROM and self._bytes > MAX_PACK_RATIO * max(self._packed.tell(), 1):
            self._break = Unreadable(
                f"The gzip file unpacks to more than {MAX_PACK_RATIO} times its size, as no table of texts does."
                " If it is one, upload it unpacked."
            )


def open_content(file: BinaryIO) -> io.BufferedReader:
    """A stream of the file's content, unpacked if it is packed, with its head to `peek` at."""
    packed = file.read(2) == GZIP
    file.seek(0)
    raw: io.RawIOBase = Unpacked(file) if packed else file  # type: ignore[assignment]  # a file is opened unbuffered
    stream: io.BufferedReader = io.BufferedReader(raw, HEAD_BYTES)
    if packed and stream.peek(2)[:2] == GZIP:
        raise Unreadable("The file is packed with gzip twice. Unpack it once and upload it again.")
    return stream


def head_of(stream: io.BufferedReader) -> bytes:
    """Up to 64 KiB from the start, which stay to be read. A break in the file is met by whoever reads on to it."""
    return stream.peek(HEAD_BYTES)[:HEAD_BYTES]


def refuse_others(head: bytes) -> None:
    """Raises Unreadable with the name of what this is, when it is known to be no table of rows."""
    if not head:
        raise Unreadable(f"The file is empty. Upload rows as {KINDS}.")
    if head.startswith(b"PK\x03\x04"):
        what = (
            "an Excel workbook. Save the sheet as CSV (UTF-8)" if b"xl/" in head or b"[Content_Types]" in head else ""
        )
        raise Unreadable(f"This is {what or 'a zip archive. Unpack it and upload the file within'}.")
    for magic, what in OTHERS:
        if head.startswith(magic):
            raise Unreadable(f"This is {what}.")
    if head[257:262] == b"ustar":
        raise Unreadable("This is a tar archive. Unpack it and upload the file within.")
    start = head.removeprefix(BOM).lstrip()
    if not start:
        raise Unreadable(f"The file begins with nothing but blank space. Upload rows as {KINDS}.")
    if start.startswith(b"<"):
        page = start[:200].lower()
        what = "a web page" if b"<html" in page or b"<!doctype html" in page else "XML"
        raise Unreadable(f"This is {what}. Upload rows as {KINDS}.")
    if start[:1] not in b"{[" and b"\x00" in head:
        raise Unreadable(f"This is a binary file of a kind that is not known here. Upload rows as {KINDS}.")


def no_table(head: bytes) -> Unreadable:
    """What to say of text that is neither JSON nor a table with columns that we know."""
    line = head.removeprefix(BOM).lstrip().split(b"\n", 1)[0].decode(errors="replace")
    return Unreadable(
        f"This is text, but neither JSON nor CSV with a column “prompt”, or “chosen” and “rejected”; it begins"
        f" “{shown(line, 80)}”. Add a header line with these names, or save the rows as JSONL."
    )
