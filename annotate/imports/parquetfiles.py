"""Parquet, a few rows at a time. pyarrow is imported here and nowhere else, inside the functions."""

import datetime
import decimal
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from annotate.imports.jsonfiles import Read
from annotate.imports.limits import MAX_COLUMNS, MAX_DEPTH, MAX_ROW_GROUP, MIB, PARQUET_ROWS
from annotate.imports.problems import RowError, Unreadable, shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
BROKEN = "The Parquet file is damaged or not complete. Write it again, and upload all of it."


def open_parquet(file: BinaryIO) -> "pq.ParquetFile":
    """Checked by its footer before any row is unpacked. Raises Unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        _check_footer(table.metadata)
        names = table.schema_arrow.names
        texts = [field.name for field in table.schema_arrow if field.type in (pa.string(), pa.large_string())]
        file.seek(0)
        # Kept as dictionaries: a text that stands in every row is then in memory once.
        table = pq.ParquetFile(file, read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError):
        raise Unreadable(BROKEN) from None
    if twice := [name for n, name in enumerate(names) if name in names[:n]]:
        raise Unreadable(f"Two columns are called “{shown(twice[0])}”. Rename or remove one of them.")
    if "prompt" not in names and not {"chosen", "rejected"} <= set(names):
        has = ", ".join(f"“{shown(name, 30)}”" for name in names[:8])
        raise Unreadable(
            f"The table has no column “prompt”, nor “chosen” and “rejected”; it has {has}. Rename its columns."
        )
    return table


def _check_footer(metadata: "pq.FileMetaData") -> None:
    if metadata.num_columns > MAX_COLUMNS:
        raise Unreadable(
            f"The table has {metadata.num_columns:,} columns; at most {MAX_COLUMNS} are read. Leave some out."
        )
    for n in range(metadata.num_columns):
        if metadata.schema.column(n).path.count(".") > MAX_DEPTH:
            raise Unreadable(f"A column of the table is nested more than {MAX_DEPTH} levels deep. Flatten it.")
    for n in range(metadata.num_row_groups):
        if (size := metadata.row_group(n).total_byte_size) > MAX_ROW_GROUP:
            raise Unreadable(
                f"Row group {n} of the table unpacks to {size // MIB:,} MiB; {MAX_ROW_GROUP // MIB:,} MiB are the most"
                " that is read at once. Write the file with smaller row groups."
            )


def read_parquet(table: "pq.ParquetFile") -> Iterator[Read]:
    """Rows of the table. A break in it ends the reading with Unreadable."""
    import pyarrow as pa

    try:
        for batch in table.iter_batches(batch_size=PARQUET_ROWS):
            for n in range(batch.num_rows):
                yield _row(batch.slice(n, 1)), batch.nbytes // batch.num_rows
    except (pa.ArrowException, OSError, ValueError):
        raise Unreadable(BROKEN) from None


def _row(batch: "pa.RecordBatch") -> object:
    try:
        [row] = batch.to_pylist()
    except UnicodeDecodeError:
        return RowError("row", "A text of the row is not UTF-8. Write the table again with texts in UTF-8.")
    except (ValueError, OverflowError, RecursionError):
        return RowError(
            "row", "A value of the row cannot be read, such as a date outside the calendar. Write it as text."
        )
    return {name: None if _is_missing(value) else _plain(value) for name, value in row.items()}


def _is_missing(value: Any) -> bool:
    """pandas writes NaN where it has no value."""
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    """As JSON would say it. What it cannot say stays, to be refused with the name of its column."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) for pair in value):  # a map
            return {key: _plain(inner) for key, inner in value}
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value
