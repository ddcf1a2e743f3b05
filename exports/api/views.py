"""Datasets over HTTP (design, section 7)."""

from typing import cast

from django.http import FileResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_project
from exports.access import get_dataset, get_version
from exports.api.serializers import DatasetInput, DatasetOutput, VersionOutput
from exports.downloads import send_version
from exports.services.datasets import DatasetError, create_dataset, start_build
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, CursorPages
from feedback_site.jobs.api import JobOutput


class Datasets(APIView):
    @extend_schema(operation_id="datasets_list", responses=DatasetOutput(many=True))
    def get(self, request: Request, slug: str) -> Response:
        project = get_project(cast(User, request.user), slug, "review")
        pages = CursorPages()
        datasets = project.datasets.select_related("project").prefetch_related("versions")
        page = pages.paginate_queryset(datasets.order_by("-id"), request, self)
        return pages.get_paginated_response(DatasetOutput(page, many=True).data)

    @extend_schema(request=DatasetInput, responses={201: DatasetOutput})
    def post(self, request: Request, slug: str) -> Response:
        user = cast(User, request.user)
        project = get_project(user, slug, "manage")
        given = DatasetInput(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            dataset = create_dataset(project=project, created_by=user, **given.validated_data)
        except DatasetError as error:
            raise ApiError("invalid", error.message, fields={error.field: error.message}) from None
        return Response(DatasetOutput(dataset).data, status=status.HTTP_201_CREATED)


class OneDataset(APIView):
    @extend_schema(responses=DatasetOutput)
    def get(self, request: Request, pk: int) -> Response:
        return Response(DatasetOutput(get_dataset(cast(User, request.user), pk)).data)


class Versions(APIView):
    @extend_schema(operation_id="versions_list", responses=VersionOutput(many=True))
    def get(self, request: Request, pk: int) -> Response:
        dataset = get_dataset(cast(User, request.user), pk)
        pages = CursorPages()
        page = pages.paginate_queryset(dataset.versions.select_related("job").order_by("-id"), request, self)
        return pages.get_paginated_response(VersionOutput(page, many=True).data)

    @extend_schema(request=None, responses={202: JobOutput})
    def post(self, request: Request, pk: int) -> Response:
        user = cast(User, request.user)
        version = start_build(dataset=get_dataset(user, pk, "manage"), created_by=user)
        address = f"/api/v1/datasets/{pk}/versions/{version.number}/"
        return Response(JobOutput(version.job).data, status=status.HTTP_202_ACCEPTED, headers={"Location": address})


class OneVersion(APIView):
    @extend_schema(responses=VersionOutput)
    def get(self, request: Request, pk: int, number: int) -> Response:
        return Response(VersionOutput(get_version(cast(User, request.user), pk, number)).data)


class VersionFile(APIView):
    @extend_schema(
        parameters=[OpenApiParameter("split", str, enum=["train", "validation", "test"])],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, pk: int, number: int, format_name: str) -> FileResponse | StreamingHttpResponse:
        version = get_version(cast(User, request.user), pk, number)
        return send_version(version, format=format_name, split=request.query_params.get("split", ""))
