"""What a task type is made of. Each lives in a folder of its own beside this file; to add one, copy the nearest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.models import Project

Verdict = dict[str, Any]


class VerdictError(ValueError):
    """A verdict that says something impossible: which field, and a sentence for whoever sent it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class TaskType:
    """One kind of question: how many completions it is about, how its verdict is checked, how it is drawn.

    `check_verdict(verdict, uids, project)` returns the normal form of a verdict about these completions or raises
    VerdictError. Two verdicts that say the same have the same normal form.
    """

    kind: str
    title: str
    min_completions: int
    max_completions: int
    check_verdict: Callable[[object, Sequence[str], Project], Verdict]
    template: str
    script: str
