"""Training from Python: what `python -m training.engine train` does, for notebooks and scripts.

from training.engine.runs import train

run = train("dpo", model="models/starter", data="pairs.parquet", out="runs/dpo-1", beta=0.2)
run.result["eval"], run.model
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.files import read_json, write_atomic
from training.engine.progress import read_progress
from training.engine.ranks import run_folder
from training.engine.runfolder import is_done
from training.engine.settings import listed, shown
from training.engine.spec import SPLITS, Spec, validate
from training.engine.work import do, known_trouble, look

# A file, a table (pandas) or rows; or one of them for each split.
Rows = str | Path | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what its result.json holds."""

    folder: Path
    result: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the trained model, as `from_pretrained` reads it."""
        return self.folder / "model"

    @property
    def metrics(self) -> list[dict[str, float]]:
        """What every optimiser step reported, in order, with its number as `step`; `pandas.DataFrame(run.metrics)`."""
        lines = read_progress(self.folder / "progress.jsonl")
        return [{"step": line["step"], **line["metrics"]} for line in lines if line["metrics"]]


def train(
    method: str,
    *,
    model: str | Path,
    data: Rows | Mapping[str, Rows],
    out: str | Path,
    reference: str | Path | None = None,
    **config: Any,
) -> Run:
    """Train a model by a method of `LOSSES`; returns the finished run.

    ``data`` are the rows to train on, or a mapping of the splits train, validation and test to rows: a file (Parquet,
    JSONL, JSON), a pandas table, or dictionaries as docs/methods.md shows them. Rows that are no file are kept in the
    run folder. ``config`` are the settings that `train --method NAME --help` lists. Called again with the same
    arguments, a stopped run goes on and a finished one is read.

    Raises EngineError, which names row and field, for what a person can mend, also kept as error.json; Cancelled after
    Ctrl-C, when the checkpoint is written; and whatever else breaks, after crash.log.
    """
    path = Path(out)
    spec, files = _spec(method, model, data, reference, config, keep=path / "data")
    folder = run_folder(path).open(spec)
    try:
        if is_done(path):
            return Run(path, read_json(path / "result.json"))
        _write(files)
        return Run(path, do(spec, folder))
    finally:
        folder.close()


def check(
    method: str,
    *,
    model: str | Path,
    data: Rows | Mapping[str, Rows],
    reference: str | Path | None = None,
    **config: Any,
) -> dict[str, Any]:
    """What `train` would find before it learns, and writes nothing: steps, first loss, checks of the data. Arguments
    and errors are those of `train`."""
    with tempfile.TemporaryDirectory() as temporary:
        spec, files = _spec(method, model, data, reference, config, keep=Path(temporary))
        _write(files)
        return look(spec)


def _spec(
    method: str,
    model: str | Path,
    data: Rows | Mapping[str, Rows],
    reference: str | Path | None,
    config: Mapping[str, Any],
    *,
    keep: Path,
) -> tuple[Spec, dict[Path, bytes]]:
    """The spec, and the files below ``keep`` that it names and that have to be written."""
    splits: Mapping[str, Any] = data if isinstance(data, Mapping) else {"train": data}
    if "train" not in splits:
        raise EngineError(
            f"'data.train' is missing: the mapping has {listed(splits) or 'nothing'}. Give rows as a list of "
            "dictionaries or a pandas table, or a mapping of the splits train, validation and test to such rows.",
            field="data.train",
        )
    files: dict[Path, bytes] = {}
    named: dict[str, Any] = {}
    for split, rows in splits.items():
        named[split] = str(rows) if isinstance(rows, Path) else rows
        if split in SPLITS and isinstance(rows, Iterable) and not isinstance(rows, str):
            content = _as_jsonl(split, rows)
            # Named after its content, so that a folder whose run saw other rows is told from this one.
            path = keep / f"{split}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
            files[path], named[split] = content, str(path)
    document: dict[str, Any] = {
        "task": "train",
        "method": method,
        "model": str(model),
        "data": named,
        "config": config,
    }
    if reference is not None:
        document["reference"] = str(reference)
    return validate(document), files


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        with known_trouble(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)


def _as_jsonl(split: str, rows: Any) -> bytes:
    if hasattr(rows, "notna"):  # a table of pandas, whose missing values are NaN, NA or NaT
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return b"".join(_line(split, number, row) for number, row in enumerate(rows))


def _line(split: str, number: int, row: Any) -> bytes:
    if not isinstance(row, Mapping):
        what = f"a row must be a dictionary of columns; it is {shown(row)}."
    else:
        try:
            text = json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
            return text.encode()
        except (TypeError, ValueError) as error:
            what = f"{error}; rows hold texts, numbers, true, false, lists and dictionaries."
    raise EngineError(f"{split}, row {number}: {what}", row=number, field=f"data.{split}")


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy, which tables are made of, as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
