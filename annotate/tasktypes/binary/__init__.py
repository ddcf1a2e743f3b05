"""Thumbs up or down?"""

from annotate.tasktypes.binary.verdict import check_verdict
from annotate.tasktypes.types import TaskType

TASK_TYPE = TaskType(
    kind="binary",
    title="Thumbs up or down?",
    min_completions=1,
    max_completions=1,
    check_verdict=check_verdict,
    template="binary/widget.html",
    script="binary/widget.js",
)
