"""What the engine raises on purpose. Standard library only: the web process imports this too."""

from __future__ import annotations


class EngineError(Exception):
    """A refusal that a person can act on: one sentence with what is wrong, where, and the cure.

    ``row`` is the 0-based row of the data file and ``field`` the column or setting, where there is one.
    """

    def __init__(self, message: str, *, row: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.row = row
        self.field = field

    def as_dict(self) -> dict[str, str | int | None]:
        """The content of ``error.json``."""
        return {"message": self.message, "row": self.row, "field": self.field}


class NothingLeft(EngineError):
    """The refusal of a data file that has rows, of which none can be used."""


class Cancelled(Exception):
    """The run was asked to stop; its checkpoint is written and it can be resumed."""
