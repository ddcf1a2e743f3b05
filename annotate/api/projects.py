"""Projects over the API: exactly the fields of design section 7."""

from typing import Any, cast

from django.core.exceptions import PermissionDenied
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_project, may_create_projects, visible_projects
from annotate.models import Project
from annotate.services.projects import FIELDS, ProjectRefused, create_project, update_project
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, CursorPages
from feedback_site.lib.serializers import Choice

GUIDELINES_LENGTH = 100_000


class Aspect(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=60)
    low = serializers.IntegerField()
    high = serializers.IntegerField()


class ProjectOutput(serializers.ModelSerializer[Project]):
    aspects = Aspect(many=True)

    class Meta:
        model = Project
        fields = FIELDS


class ProjectInput(serializers.ModelSerializer[Project]):
    """What may be set. A key that is not among these is refused, so that a typing error is not taken for consent."""

    serializer_choice_field = Choice

    slug = serializers.CharField(required=False, max_length=60, help_text="Made from the name where it is missing.")
    guidelines = serializers.CharField(
        required=False, allow_blank=True, max_length=GUIDELINES_LENGTH, trim_whitespace=False, help_text="Markdown."
    )
    aspects = Aspect(many=True, required=False)

    class Meta:
        model = Project
        fields = FIELDS

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = set(self.initial_data) - set(FIELDS)
        if unknown:
            allowed = f"Unknown key. Projects have: {', '.join(FIELDS)}."
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), allowed))
        return attrs


class Projects(APIView):
    @extend_schema(operation_id="projects_list", responses=ProjectOutput(many=True))
    def get(self, request: Request) -> Response:
        """The projects that you belong to, newest first."""
        pages = CursorPages()
        rows = pages.paginate_queryset(visible_projects(cast(User, request.user)), request, view=self)
        return pages.get_paginated_response(ProjectOutput(rows, many=True).data)

    @extend_schema(operation_id="projects_create", request=ProjectInput, responses={201: ProjectOutput})
    def post(self, request: Request) -> Response:
        """Make a project; you become its owner."""
        user = cast(User, request.user)
        if not may_create_projects(user):
            raise PermissionDenied("Your account may judge and view, but not make projects. Ask an administrator.")
        fields = read(ProjectInput(data=request.data))
        try:
            project = create_project(created_by=user, **fields)
        except ProjectRefused as refusal:
            raise refused(refusal) from None
        return Response(ProjectOutput(project).data, status=status.HTTP_201_CREATED)


class ProjectDetail(APIView):
    @extend_schema(operation_id="projects_read", responses=ProjectOutput)
    def get(self, request: Request, slug: str) -> Response:
        return Response(ProjectOutput(get_project(cast(User, request.user), slug)).data)

    @extend_schema(operation_id="projects_update", request=ProjectInput(partial=True), responses=ProjectOutput)
    def patch(self, request: Request, slug: str) -> Response:
        """Change some fields. The slug stays, the kind too once there are items. A new overlap is for all items."""
        project = get_project(cast(User, request.user), slug, "manage")
        changes = read(ProjectInput(project, data=request.data, partial=True))
        try:
            project = update_project(project=project, changes=changes)
        except ProjectRefused as refusal:
            raise refused(refusal) from None
        return Response(ProjectOutput(project).data)


def read(serializer: ProjectInput) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return {name: plain(value) for name, value in serializer.validated_data.items()}


def plain(value: Any) -> Any:
    """The aspects as they are stored: DRF gives ordered dictionaries."""
    return [dict(row) for row in value] if isinstance(value, list) else value


def refused(refusal: ProjectRefused) -> ApiError:
    return ApiError("invalid", f"{refusal.field}: {refusal.message}", fields={refusal.field: refusal.message})
