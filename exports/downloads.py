"""Sending a version's files, to pages and API alike."""

from pathlib import Path

from django.conf import settings
from django.http import FileResponse, Http404, StreamingHttpResponse
from django.utils.text import slugify

from exports.models import DatasetVersion
from exports.splits import SPLITS
from exports.writers.formats import FORMATS, read_rows


def send_version(version: DatasetVersion, *, format: str, split: str) -> FileResponse | StreamingHttpResponse:
    """The whole version, or one split of it, as an attachment. 404 for what is not ready, no format, or gone."""
    if version.status != DatasetVersion.Status.READY or format not in FORMATS or split not in ("", *SPLITS):
        raise Http404
    chosen = FORMATS[format]
    folder = Path(settings.DATA_DIR) / version.folder
    if not folder.is_dir():
        raise Http404
    name = (
        f"{slugify(version.dataset.name) or 'dataset'}-v{version.number}{'-' + split if split else ''}.{chosen.suffix}"
    )
    response: FileResponse | StreamingHttpResponse
    if chosen.convert is None:
        path = folder / f"{split or 'data'}.parquet"
        response = FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type=chosen.content_type)
    else:
        parts = chosen.convert(read_rows(folder / "data.jsonl", split))
        response = StreamingHttpResponse(parts, content_type=chosen.content_type)
        response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
