"""The background work of this room."""

from typing import Any

from feedback_site.jobs.context import JobContext
from feedback_site.jobs.registry import handler
from training.models import Run


@handler("run_engine", title="Run the engine", whole_machine=True)
def run_engine(context: JobContext) -> dict[str, Any]:
    from training.runner import supervise

    run = Run.objects.select_related("project", "model", "dataset_version__dataset").get(pk=context.params["run"])
    return supervise(run=run, context=context)
