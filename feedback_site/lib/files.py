"""Files that are either whole or not there: temporary name, fsync, rename. And paths that stay where they belong."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    bytes: int
    sha256: str


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name; on leaving without an error it is on disk and takes its name.

    A reader, or a crash, meets the old content or the new one and nothing between. Nothing is left of a failed writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        fsync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_chunks(path: Path, chunks: Iterable[bytes]) -> Written:
    """`whole_file` of a stream, with its size and hex sha256."""
    digest, size = hashlib.sha256(), 0
    with whole_file(path) as stream:
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return Written(size, digest.hexdigest())


def fsync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content, read in constant memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def chunks_of(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """What is left of a stream, a piece at a time."""
    while chunk := stream.read(size):
        yield chunk


def resolve_below(root: Path, name: str) -> Path:
    """The path of `name` below `root`, with links followed. ValueError if it leads out of `root`, or is `root`."""
    base = root.resolve()
    path = (base / name).resolve()
    if path == base or not path.is_relative_to(base):
        raise ValueError(f"{name!r} does not lie below {root}.")
    return path
