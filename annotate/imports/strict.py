"""JSON as strict as what we store: no key twice, no NaN, nothing too deep, only text that every database can keep."""

import json
import math
import re
from typing import Any, NoReturn

from annotate.imports.limits import MAX_COLUMNS, MAX_DEPTH
from annotate.imports.problems import RowError, shown

HALF_PAIR = re.compile("[\ud800-\udfff]")
DEEP = f"The row is nested more than {MAX_DEPTH} levels deep. Flatten it, or leave out what nobody is to judge."


def parse_json(text: str, field: str = "row") -> Any:
    """The value of a JSON text. Raises RowError with the place of the mistake; duplicate keys and NaN are mistakes."""
    try:
        return DECODER.decode(text)
    except RowError:
        raise
    except RecursionError:
        raise RowError(field, DEEP) from None
    except json.JSONDecodeError as error:
        where = f"at character {error.pos}, near “{shown(text[max(error.pos - 10, 0) : error.pos + 20])}”"
        raise RowError(field, f"This is no JSON: {error.msg} {where}. Write one JSON value here.") from None
    except ValueError:  # an integer of thousands of digits
        raise RowError(field, "A number is too long to be read. Write it as text.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowError(shown(twice) or "row", f"The key “{shown(twice)}” stands twice in one object. Keep one of them.")
    return found


def _no_number(name: str) -> NoReturn:
    raise RowError("row", f"{name} is no JSON number. Write null, or leave the key out.")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)


def check_row(row: object) -> dict[str, Any]:
    """A JSON object that can be stored. Raises RowError naming the top-level key in which something cannot be."""
    if not isinstance(row, dict):
        raise RowError("row", f"A row must be an object with keys such as “prompt”; this is {_kind(row)}.")
    if len(row) > MAX_COLUMNS:
        raise RowError("row", f"The row has {len(row):,} keys; at most {MAX_COLUMNS} are read. Leave out the others.")
    for key, value in row.items():
        if not isinstance(key, str):
            raise RowError("row", f"The key {shown(key)} is not a text.")
        field = shown(key) or "row"
        _check_text(key, field)
        _check_value(value, field)
    return row


def _check_value(value: Any, field: str) -> None:
    """Walks with a stack of its own, so that no depth of nesting can exhaust Python's."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise RowError(field, DEEP)
        if isinstance(value, str):
            _check_text(value, field)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise RowError(field, f"“{field}” holds a number that is not finite. Write null, or leave it out.")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise RowError(field, f"“{field}” has the key {shown(key)}, which is not a text.")
                _check_text(key, field)
                waiting.append((inner, depth + 1))
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)
        elif value is not None and not isinstance(value, bool | int):
            raise RowError(field, f"“{field}” holds {_kind(value)}, which JSON does not know. Write it as text.")


def _check_text(text: str, field: str) -> None:
    if "\x00" in text:
        raise RowError(field, f"“{field}” holds a NUL character, which databases refuse. Remove it.")
    if not text.isascii() and HALF_PAIR.search(text):
        raise RowError(
            field, f"“{field}” holds bytes that are not UTF-8, or half of a surrogate pair. Save the text as UTF-8."
        )


def _kind(value: object) -> str:
    names = {
        type(None): "null",
        bool: "true or false",
        str: "a text",
        list: "a list",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), f"a value of the type {type(value).__name__}")
