"""The files of a version: Parquet for all rows and for each split, and JSON lines from which other formats are made."""

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from exports.splits import SPLITS
from exports.writers.schema import SCHEMAS

ROWS_PER_GROUP = 1000


class VersionWriter:
    """Streams rows into `data.parquet`, `<split>.parquet` and `data.jsonl`. The same rows give the same bytes.

    Use as a context manager, then call write_manifest.
    """

    def __init__(self, folder: Path, *, kind: str) -> None:
        self.folder = folder
        self.schema = SCHEMAS[kind]
        self.pending: dict[str, list[dict[str, Any]]] = {name: [] for name in ("data", *SPLITS)}

    def __enter__(self) -> Self:
        self.parquet = {
            name: pq.ParquetWriter(self.folder / f"{name}.parquet", self.schema, compression="zstd")
            for name in self.pending
        }
        self.lines = (self.folder / "data.jsonl").open("w", encoding="utf-8", newline="\n")
        return self

    def write(self, row: dict[str, Any]) -> None:
        ordered = {name: row[name] for name in self.schema.names}
        self.lines.write(json.dumps(ordered, ensure_ascii=False, separators=(",", ":")) + "\n")
        for name in ("data", row["split"]):
            self.pending[name].append(ordered)
            if len(self.pending[name]) >= ROWS_PER_GROUP:
                self._flush(name)

    def _flush(self, name: str) -> None:
        if rows := self.pending[name]:
            self.parquet[name].write_table(pa.Table.from_pylist(rows, schema=self.schema))
            self.pending[name] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, writer in self.parquet.items():
            self._flush(name)
            writer.close()
        self.lines.close()

    def write_manifest(self, about: dict[str, Any]) -> str:
        """`manifest.json` with the sha256 of every file. Returns the manifest's own sha256, the version's identity."""
        names = ["data.jsonl", *(f"{name}.parquet" for name in self.pending)]
        files = {}
        for name in sorted(names):
            path = self.folder / name
            with path.open("rb") as file:
                os.fsync(file.fileno())
                files[name] = {
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                    "bytes": path.stat().st_size,
                }
        text = json.dumps(about | {"files": files}, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        with (self.folder / "manifest.json").open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return hashlib.sha256(text.encode()).hexdigest()
