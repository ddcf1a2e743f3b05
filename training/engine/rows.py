"""Rows of a dataset file, one by one, and typed access to their columns that names the row when it fails."""

from __future__ import annotations

import json
import re
import reprlib
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from training.engine.errors import EngineError

ROLES = ("system", "developer", "user", "assistant", "tool")
Messages = list[dict[str, str]]

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
    """Yields the rows of a Parquet file, or of a JSONL, NDJSON or JSON file, packed with gzip or not. EngineError when
    it is missing, of another type or damaged."""
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"The data file {path.name} does not exist; build the dataset version again.", field="data")
    name = path.name.lower()
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
        return _json(path)
    raise EngineError(
        f"{path.name} cannot be read: the engine reads .parquet, .jsonl and .json files, the last two also as .gz. "
        "Save the rows as one of them.",
        field="data",
    )


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := [name for name in names if names.count(name) > 1]:
                what = f"{path.name} has two columns {twice[0]!r}; leave one of them out."
                raise EngineError(what, field="data")
            # Nothing here asks for times, and Python cannot hold those in nanoseconds.
            plain = [one.name for one in file.schema_arrow if not pyarrow.types.is_temporal(one.type)]
            index = 0
            for batch in file.iter_batches(batch_size=1024, columns=plain):
                for values in batch.to_pylist():
                    yield Row(path.name, index, values)
                    index += 1
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        message = f"{path.name} is not a readable Parquet file ({error}); build the dataset version, or save it, again."
        raise EngineError(message, field="data") from error


def _json(path: Path) -> Iterator[Row]:
    """One object in every line, or one list of objects."""
    try:
        with GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            listed = file.read(4096).removeprefix(_BOM).lstrip().startswith(b"[")
            file.seek(0)
            yield from _list_of_objects(path.name, file) if listed else _lines(path.name, file)
    except (EOFError, OSError, zlib.error) as error:
        message = f"{path.name} cannot be read to its end ({error}); copy or pack it again."
        raise EngineError(message, field="data") from error


def _lines(name: str, file: GzipFile | BufferedReader) -> Iterator[Row]:
    index = 0
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield Row(name, index, _object(name, index, _parsed(line, f"{name}, row {index} (line {number})", index)))
            index += 1


def _list_of_objects(name: str, file: GzipFile | BufferedReader) -> Iterator[Row]:
    for index, value in enumerate(_parsed(file.read(), name, None)):
        yield Row(name, index, _object(name, index, value))


_BOM = b"\xef\xbb\xbf"
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def _parsed(content: bytes, where: str, row: int | None) -> Any:
    """The JSON value, read as strictly as it matters: no key twice, and only text that can be written again."""
    try:
        text = content.removeprefix(_BOM).decode()
        value = json.loads(text, object_pairs_hook=_without_twins)
        if _HALF_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8; save the file as UTF-8."
    except UnicodeEncodeError as error:
        what = f"{error.object[error.start]!r} is half of a character; remove it."
    except (ValueError, RecursionError) as error:
        what = f"this is not JSON ({error}); correct or remove it."
    else:
        return value
    raise EngineError(f"{where}: {what}", row=row, field="data" if row is None else None)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _object(name: str, index: int, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineError(f"{name}, row {index}: a row must be a JSON object.", row=index)
    return value


def shown(value: object) -> str:
    """A value as an error shows it: short."""
    return reprlib.repr(value)


def column(row: Row, name: str, default: object = _MISSING) -> Any:
    """The value of a column; EngineError when it is missing and has no default."""
    value = row.values.get(name, default)
    if value is _MISSING:
        found = ", ".join(sorted(row.values)) or "none"
        what = f"the column is missing (found: {found}); choose a dataset of the right kind, or write its rows as "
        raise row.error(name, what + "docs/methods.md shows them.")
    return value


def label(row: Row, name: str) -> str | None:
    """The name of something, such as a group of annotators; None where the column is missing or null."""
    value = column(row, name, None)
    if value is not None and not isinstance(value, str):
        raise row.error(name, f"expected text, found {shown(value)}.")
    return value


def messages(row: Row, name: str) -> Messages:
    """A column of chat messages: a list of ``{"role", "content"}`` with at least one of them."""
    return as_messages(row, name, column(row, name))


def as_messages(row: Row, name: str, value: object) -> Messages:
    """``value``, which stands in column ``name``, as chat messages."""
    if not isinstance(value, list) or not value:
        raise row.error(name, 'expected a list of messages such as [{"role": "user", "content": "…"}].')
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise row.error(name, "every message needs a role and a content, both text.")
        if message["role"] not in ROLES:
            raise row.error(name, f"{shown(message['role'])} is no role; write one of {', '.join(ROLES)}.")
        if more := [key for key, inner in message.items() if key not in ("role", "content") and inner is not None]:
            what = f"a message has the key {shown(more[0])}, which the model would never see; remove it."
            raise row.error(name, what)
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
            raise row.error(name, f"expected whole numbers, 0 for the best, found {shown(part)}.")
    return [-1 if part is None else max(part, -1) for part in value]


def ranking(row: Row, name: str, *, count: int) -> list[int] | None:
    """The ranks of ``count`` completions from lists of their places in the row, best first, ties in one list; None
    where the column is missing or null."""
    value = column(row, name, None)
    if value is None:
        return None
    tiers = value if isinstance(value, list) and all(isinstance(tier, list) for tier in value) else []
    named = [place for tier in tiers for place in tier]
    if not all(type(place) is int for place in named) or sorted(named) != list(range(count)):
        what = f"expected each of 0 to {count - 1} once, as in [[0], [2, 1]]: best first, ties share a list; found "
        raise row.error(name, f"{what}{shown(value)}.")
    return [rank for _, rank in sorted((place, rank) for rank, tier in enumerate(tiers) for place in tier)]


def ratings(row: Row, name: str) -> dict[str, float] | None:
    """Numbers by aspect, without those that are null; None where the column is missing, null or left empty by that."""
    value = column(row, name, None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise row.error(name, f'expected numbers by aspect such as {{"helpfulness": 4}}, found {shown(value)}.')
    return {str(aspect): _finite(row, name, part) for aspect, part in value.items() if part is not None} or None


def _list(row: Row, name: str, count: int) -> list[Any] | None:
    value = column(row, name, None)
    if value is not None and (not isinstance(value, list) or len(value) != count):
        raise row.error(name, f"expected a list of {count}, one for each completion, found {shown(value)}.")
    return value


def _finite(row: Row, name: str, value: object) -> float:
    # An integer can be larger than any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise row.error(name, f"expected a number, found {shown(value)}; write null, or leave it out, for none.")
    return float(value)


def flag(row: Row, name: str) -> bool:
    """True or false, nothing that merely looks like it."""
    value = column(row, name)
    if not isinstance(value, bool):
        raise row.error(name, f"expected true or false, found {shown(value)}.")
    return value
