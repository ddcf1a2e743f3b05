"""The kinds of question that people can be asked. Completions are named by uid, never by letter or position."""

from annotate.tasktypes import binary, pairwise
from annotate.tasktypes.types import TaskType, Verdict, VerdictError

TASK_TYPES: dict[str, TaskType] = {task.kind: task for task in (pairwise.TASK_TYPE, binary.TASK_TYPE)}

__all__ = ["TASK_TYPES", "TaskType", "Verdict", "VerdictError", "task_type"]


def task_type(kind: str) -> TaskType:
    """The task type of this kind; VerdictError for a kind that nobody can judge yet."""
    if kind not in TASK_TYPES:
        raise VerdictError("kind", f"Items of the kind “{kind}” cannot be judged; choose from {', '.join(TASK_TYPES)}.")
    return TASK_TYPES[kind]
