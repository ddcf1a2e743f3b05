"""Rows of a dataset file, one by one, and typed access to their columns that names the row when it fails."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.engine.errors import EngineError

_MISSING = object()
Default = TypeVar("Default", float, None)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its 0-based number in the file ``file`` and its columns."""

    file: str
    index: int
    values: Mapping[str, Any]

    def error(self, name: str, what: str) -> EngineError:
        """An EngineError that says where: file, row and column."""
        return EngineError(f"{self.file}, row {self.index}, column {name!r}: {what}", row=self.index, field=name)


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yields the rows of a Parquet, JSONL or NDJSON file. EngineError when it is missing, of another type or
    damaged."""
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"The data file {path.name} does not exist; build the dataset version again.", field="data")
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix in {".jsonl", ".ndjson"}:
        return _jsonl(path)
    raise EngineError(
        f"{path.name} cannot be read: the engine reads .parquet and .jsonl files; export the dataset as one of them.",
        field="data",
    )


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            index = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    yield Row(path.name, index, values)
                    index += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise EngineError(
            f"{path.name} is not a readable Parquet file ({error}); build the dataset version again.", field="data"
        ) from error


def _jsonl(path: Path) -> Iterator[Row]:
    index = 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise EngineError(
                    f"{path.name}, row {index}: this line is not JSON ({error}); correct or remove it.", row=index
                ) from error
            if not isinstance(values, dict):
                raise EngineError(f"{path.name}, row {index}: a row must be a JSON object.", row=index)
            yield Row(path.name, index, values)
            index += 1


def column(row: Row, name: str, default: object = _MISSING) -> Any:
    """The value of a column; EngineError when it is missing and has no default."""
    value = row.values.get(name, default)
    if value is _MISSING:
        found = ", ".join(sorted(row.values)) or "none"
        raise row.error(name, f"the column is missing (found: {found}); choose a dataset of the right kind.")
    return value


def text(row: Row, name: str) -> str:
    """A completion: a string that is not empty or white space only."""
    return _completion(row, name, column(row, name))


def texts(row: Row, name: str) -> list[str]:
    """Two or more completions, none of them empty."""
    value = column(row, name)
    if not isinstance(value, list) or len(value) < 2:
        raise row.error(name, "expected a list of at least two completions; remove the row, there is nothing to rank.")
    return [_completion(row, name, part) for part in value]


def _completion(row: Row, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise row.error(name, f"expected text, found {type(value).__name__}.")
    if not value.strip():
        raise row.error(name, "the completion is empty; remove the row, there is nothing to learn from it.")
    return value


def label(row: Row, name: str) -> str | None:
    """The name of something, such as a group of annotators; None where the column is missing or null."""
    value = column(row, name, None)
    if value is not None and not isinstance(value, str):
        raise row.error(name, f"expected text, found {value!r}.")
    return value


def messages(row: Row, name: str) -> list[dict[str, str]]:
    """A prompt: a list of ``{"role", "content"}`` with at least one message."""
    value = column(row, name)
    if not isinstance(value, list) or not value:
        raise row.error(name, 'expected a list of messages such as [{"role": "user", "content": "…"}].')
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise row.error(name, "every message needs a role and a content, both text.")
    return [{"role": message["role"], "content": message["content"]} for message in value]


def number(
    row: Row, name: str, *, default: Default, minimum: float | None = None, maximum: float | None = None
) -> float | Default:
    """A finite number within its bounds; a missing or null column gives the default, which may be None."""
    given = column(row, name, None)
    if given is None:
        return default
    value = _finite(row, name, given)
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise row.error(name, f"expected a number {bounds}, found {value}.")
    return value


def numbers(row: Row, name: str, *, count: int) -> list[float] | None:
    """One finite number for each of ``count`` completions; None where the column is missing or null."""
    value = _list(row, name, count)
    return None if value is None else [_finite(row, name, part) for part in value]


def ranks(row: Row, name: str, *, count: int) -> list[int] | None:
    """One whole number for each of ``count`` completions, -1 for one that is null or negative: it was not ranked.
    None where the column is missing or null."""
    value = _list(row, name, count)
    if value is None:
        return None
    for part in value:
        if part is not None and (isinstance(part, bool) or not isinstance(part, int)):
            raise row.error(name, f"expected whole numbers, 0 for the best, found {part!r}.")
    return [-1 if part is None else max(part, -1) for part in value]


def ratings(row: Row, name: str) -> dict[str, float] | None:
    """Numbers by aspect, without those that are null; None where the column is missing, null or left empty by that."""
    value = column(row, name, None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise row.error(name, f'expected numbers by aspect such as {{"helpfulness": 4}}, found {value!r}.')
    return {str(aspect): _finite(row, name, part) for aspect, part in value.items() if part is not None} or None


def _list(row: Row, name: str, count: int) -> list[Any] | None:
    value = column(row, name, None)
    if value is not None and (not isinstance(value, list) or len(value) != count):
        raise row.error(name, f"expected a list of {count}, one for each completion, found {value!r}.")
    return value


def _finite(row: Row, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise row.error(name, f"expected a number, found {value!r}.")
    return float(value)


def flag(row: Row, name: str) -> bool:
    """True or false, nothing that merely looks like it."""
    value = column(row, name)
    if not isinstance(value, bool):
        raise row.error(name, f"expected true or false, found {value!r}.")
    return value
