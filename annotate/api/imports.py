"""`/projects/{slug}/imports/` and `/imports/{id}/`: files of any size, read by a job."""

from collections.abc import Iterator
from typing import IO, Any, cast

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_import, get_project
from annotate.api.items import DRY_RUN, wants_dry_run
from annotate.models import ImportProblem, ItemImport
from annotate.services.imports import ImportRefused, keep_file, start_import
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, CursorPages
from feedback_site.jobs.api import JobOutput
from feedback_site.lib.files import chunks_of

PAGING = [OpenApiParameter("limit", int), OpenApiParameter("cursor", str)]


class RawBody(BaseParser):
    """Hands the body on as a stream, whatever it is: the file's own bytes tell its kind."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream


class ImportOutput(serializers.ModelSerializer[ItemImport]):
    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    created_by = serializers.SlugRelatedField[User](slug_field="username", read_only=True)
    job = serializers.PrimaryKeyRelatedField[Any](read_only=True)
    status = serializers.CharField(source="job.status", default="done", read_only=True)

    class Meta:
        model = ItemImport
        fields = [
            "id",
            "project",
            "file_name",
            "sha256",
            "bytes",
            "dry_run",
            "job",
            "status",
            "rows",
            "created_items",
            "created_judgements",
            "duplicates",
            "problem_count",
            "created_by",
            "created_at",
        ]
        read_only_fields = fields


class ImportProblemOutput(serializers.ModelSerializer[ImportProblem]):
    class Meta:
        model = ImportProblem
        fields = ["row", "field", "message"]
        read_only_fields = fields


class ProblemPages(CursorPages):
    ordering = ("row", "id")  # type: ignore[assignment]  # DRF takes several


class ProblemsOutput(serializers.Serializer[Any]):
    results = ImportProblemOutput(many=True)
    next = serializers.URLField(allow_null=True)


class ImportDetailOutput(ImportOutput):
    problems = ProblemsOutput(read_only=True)

    class Meta(ImportOutput.Meta):
        fields = [*ImportOutput.Meta.fields, "problems"]
        read_only_fields = fields


class Imports(APIView):
    parser_classes = [MultiPartParser, RawBody]

    @extend_schema(summary="List imports, newest first", parameters=PAGING, responses=ImportOutput(many=True))
    def get(self, request: Request, slug: str) -> Response:
        project = get_project(cast(User, request.user), slug, "manage")
        pages = CursorPages()
        found = ItemImport.objects.filter(project=project).select_related("project", "job", "created_by")
        page = pages.paginate_queryset(found, request, view=self)
        return pages.get_paginated_response(ImportOutput(page, many=True).data)

    @extend_schema(
        summary="Import a file of rows",
        description=(
            "JSONL, JSON, CSV or Parquet, packed with gzip or not; told by the content. As the field `file` of a form,"
            " or as the body itself. The job's result holds the counts; `Location` names the import with its problems."
        ),
        parameters=[
            DRY_RUN,
            OpenApiParameter("name", str, description="What to call a file that is sent as the body."),
        ],
        request={
            "multipart/form-data": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}},
            "application/x-ndjson": {"type": "string", "format": "binary"},
        },
        responses={
            202: JobOutput,
            400: OpenApiResponse(description="No table of rows; the message says what it is."),
            507: OpenApiResponse(description="The disk of the server is full."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        user = cast(User, request.user)
        project = get_project(user, slug, "manage")
        dry_run = wants_dry_run(request)
        name, chunks = _upload(request)
        try:
            item_import = keep_file(project=project, file_name=name, chunks=chunks, dry_run=dry_run, created_by=user)
        except ImportRefused as refused:
            code = status.HTTP_507_INSUFFICIENT_STORAGE if refused.full else status.HTTP_400_BAD_REQUEST
            raise ApiError("disk_full" if refused.full else "refused", str(refused), status=code) from None
        start_import(item_import=item_import)
        location = request.build_absolute_uri(f"/api/v1/imports/{item_import.pk}/")
        return Response(
            JobOutput(item_import.job).data, status=status.HTTP_202_ACCEPTED, headers={"Location": location}
        )


def _upload(request: Request) -> tuple[str, Iterator[bytes]]:
    """The name and the bytes of a file, from a form or from the body, which is never held in memory."""
    if (request.content_type or "").startswith("multipart/"):
        file = request.FILES.get("file")
        if file is None:
            raise ApiError("invalid", "file: Send the file as the field “file”.", fields={"file": "This is missing."})
        return file.name or "rows", file.chunks()
    name = request.query_params.get("name", "rows")
    body: Any = request.data
    return name, chunks_of(body) if hasattr(body, "read") else iter(())


class ImportDetail(APIView):
    @extend_schema(summary="Read an import and its problems, by row", parameters=PAGING, responses=ImportDetailOutput)
    def get(self, request: Request, pk: int) -> Response:
        item_import = get_import(cast(User, request.user), pk)
        pages = ProblemPages()
        page = pages.paginate_queryset(item_import.problems.all(), request, view=self)
        problems = pages.get_paginated_response(ImportProblemOutput(page, many=True).data).data
        return Response(dict(ImportOutput(item_import).data) | {"problems": problems})
