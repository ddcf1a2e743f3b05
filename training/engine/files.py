"""Files that are either whole or not there: temporary name, fsync, rename. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"


def write_atomic(path: Path, content: bytes, *, writer: str = "") -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new one and nothing between.

    `writer` sets processes apart that may write the same file at the same time.
    """
    partial = path.with_name(path.name + writer + PARTIAL)
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)
    fsync_path(path.parent)


def write_json(path: Path, document: Any) -> None:
    """`write_atomic` of a JSON document; refuses NaN and infinity, which are not JSON."""
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The document in a JSON file, or None where there is no such file or it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name; on leaving without an error it is on disk and takes its name.

    An existing folder of that name is replaced.
    """
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for found in sorted(partial.rglob("*")):
            fsync_path(found)
        fsync_path(partial)
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
        fsync_path(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def fsync_path(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
