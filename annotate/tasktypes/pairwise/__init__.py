"""Which of two completions is better?"""

from annotate.tasktypes.pairwise.verdict import check_verdict
from annotate.tasktypes.types import TaskType

TASK_TYPE = TaskType(
    kind="pairwise",
    title="Which of two is better?",
    min_completions=2,
    max_completions=2,
    check_verdict=check_verdict,
    template="pairwise/widget.html",
    script="pairwise/widget.js",
)
