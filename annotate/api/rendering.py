"""One JSON value per line, for answers of any length."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import BaseSerializer

ROWS_AT_ONCE = 1000


class NdjsonRenderer(JSONRenderer):
    """Makes `Accept: application/x-ndjson` and `?format=ndjson` known; a refusal is a single line."""

    media_type = "application/x-ndjson"
    format = "ndjson"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return super().render(data) + b"\n"


def stream_rows(rows: QuerySet[Any], serializer: type[BaseSerializer[Any]], *, file_name: str) -> StreamingHttpResponse:
    """Read through a server-side cursor (PostgreSQL) or in batches (SQLite): memory does not grow with the answer."""
    lines = _lines(rows.iterator(ROWS_AT_ONCE), serializer)
    response = StreamingHttpResponse(lines, content_type=NdjsonRenderer.media_type)
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def _lines(rows: Iterable[Any], serializer: type[BaseSerializer[Any]]) -> Iterator[bytes]:
    renderer = NdjsonRenderer()
    one = serializer()
    for row in rows:
        yield renderer.render(one.to_representation(row))
