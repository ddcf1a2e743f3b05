"""`POST /projects/{slug}/items/`: rows of design section 8, up to 1,000 at once."""

from typing import IO, Any, cast

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_project
from annotate.imports.limits import API_ROWS, MIB
from annotate.imports.problems import RowError
from annotate.imports.strict import parse_json
from annotate.services.items import add_rows
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, Conflict

DRY_RUN = OpenApiParameter("dry_run", str, enum=["1"], description="Write nothing, and report the same.")


class ProblemOutput(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="Of the row, from 0.")
    field = serializers.CharField(help_text="The key, or `row` for the whole of it.")
    message = serializers.CharField(help_text="What is wrong, and the cure.")


class AddedOutput(serializers.Serializer[Any]):
    created = serializers.IntegerField(help_text="Items that are new, and prompts that came alone.")
    duplicates = serializers.IntegerField(help_text="Rows that said what was there already.")
    errors = ProblemOutput(many=True)  # type: ignore[assignment]  # the design's name; DRF takes fields out of the class


class RowInput(serializers.Serializer[Any]):
    """The keys tell what a row is. Others than these are kept beside the item."""

    prompt = serializers.JSONField(required=False, help_text="A text, or chat messages {role, content}.")
    completions = serializers.ListField(
        child=serializers.JSONField(), required=False, help_text="Texts, or objects {text, model, metadata}."
    )
    ranking = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        required=False,
        help_text="Numbers of completions, best first; those that share a list are tied.",
    )
    chosen = serializers.JSONField(required=False, help_text="A text, a transcript, or chat messages.")
    rejected = serializers.JSONField(required=False)
    strength = serializers.IntegerField(required=False, min_value=1, max_value=3)
    completion = serializers.JSONField(required=False)
    label = serializers.BooleanField(required=False)  # type: ignore[assignment]  # as above
    annotator = serializers.CharField(required=False, help_text="Names a stand-in of this project.")
    id = serializers.CharField(required=False, help_text="Your own name for the item.")


class StrictJson(BaseParser):
    """JSON without duplicate keys, NaN or bottomless nesting, and of a bounded size."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise ApiError(
                "too_large",
                f"The request has more than {limit // MIB} MiB. Send fewer rows, or import them as a file.",
                status=status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )
        try:
            return parse_json(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ParseError(f"Byte {error.start} of the request is not UTF-8.") from None
        except RowError as error:
            raise ParseError(error.message) from None


class Items(APIView):
    parser_classes = [StrictJson]

    @extend_schema(
        summary="Add items, judgements and prompts",
        description="Good rows land, bad ones are named. Sending rows again adds nothing.",
        parameters=[DRY_RUN],
        request=RowInput(many=True),
        responses={
            201: AddedOutput,
            200: OpenApiResponse(AddedOutput, description="Of a dry run."),
            409: OpenApiResponse(description="The project is archived."),
            413: OpenApiResponse(description="More than 1,000 rows, or 20 MiB; import them as a file."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        user = cast(User, request.user)
        project = get_project(user, slug, "manage")
        if project.archived_at is not None:
            raise Conflict("archived", f"“{project.name}” is archived. Open it again, then add items.")
        rows = request.data
        if not isinstance(rows, list):
            raise ApiError("not_a_list", "Send a list of rows, such as [{“prompt”: …, “completions”: […]}].")
        if len(rows) > API_ROWS:
            raise ApiError(
                "too_many",
                f"{len(rows):,} rows are too many at once. Send at most {API_ROWS:,}, or POST them as a file to"
                f" /api/v1/projects/{slug}/imports/.",
                status=status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
            )
        dry_run = wants_dry_run(request)
        added = add_rows(project=project, rows=rows, created_by=user, dry_run=dry_run)
        body = {
            "created": added.created,
            "duplicates": added.duplicates,
            "errors": ProblemOutput(added.problems, many=True).data,
        }
        return Response(body, status=status.HTTP_200_OK if dry_run else status.HTTP_201_CREATED)


def wants_dry_run(request: Request) -> bool:
    asked = request.query_params.get("dry_run", "0").lower()
    if asked not in ("0", "1", "false", "true"):
        raise ApiError("invalid", "dry_run: Write 1 or 0.", fields={"dry_run": "Write 1 or 0."})
    return asked in ("1", "true")
