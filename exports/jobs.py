"""The background work of this room."""

from typing import Any

from exports.models import DatasetVersion
from feedback_site.jobs.context import JobContext
from feedback_site.jobs.registry import handler


@handler("build_dataset", title="Build a dataset")
def build_dataset(context: JobContext) -> dict[str, Any]:
    from exports.services.build import build_version

    version = DatasetVersion.objects.select_related("dataset__project").get(pk=context.params["version"])
    return build_version(version=version, context=context)
