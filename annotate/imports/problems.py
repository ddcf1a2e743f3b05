"""How refusals are said: which row (from 0), which field, and a sentence with the cure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that was refused. `index` counts from 0; `field` is the key or column, or `row`, or `file`."""

    index: int
    field: str
    message: str


class RowError(ValueError):
    """A row that cannot be taken: the field and a sentence for whoever made the file."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Unreadable(Exception):
    """From here on the file cannot be read: what it is or where it breaks, and the cure."""


def shown(value: object, longest: int = 60) -> str:
    """A value from a file, short and harmless enough to stand in a sentence."""
    text = repr(value) if not isinstance(value, str) else value
    text = text.encode(errors="replace").decode().replace("\x00", "�")
    text = " ".join(text[: longest * 4].split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
