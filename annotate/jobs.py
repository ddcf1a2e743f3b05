"""The background work of this room."""

from typing import Any

from annotate.models import ItemImport
from annotate.services.imports import KIND
from feedback_site.jobs.context import JobContext, JobFailed
from feedback_site.jobs.registry import handler


@handler(KIND, title="Import items", max_attempts=3)
def import_items(context: JobContext) -> dict[str, Any]:
    """Reads the file of `params["import"]`; a second attempt goes on where the first one stopped."""
    from annotate.imports.run import import_file

    item_import = ItemImport.objects.select_related("project").filter(pk=context.params["import"]).first()
    if item_import is None:
        raise JobFailed("This import was deleted.")
    return import_file(item_import, context)
