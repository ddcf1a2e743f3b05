"""The registry of models over HTTP (design, section 7)."""

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_project
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, CursorPages
from training.access import get_model, visible_models
from training.api.serializers import (
    LineageOutput,
    ListQuery,
    ModelInput,
    ModelOutput,
    PromotionInput,
    PromotionOutput,
    read_query,
)
from training.services.models import ModelError, lineage, promote_model, register_model


class Models(APIView):
    @extend_schema(operation_id="models_list", parameters=[ListQuery], responses=ModelOutput(many=True))
    def get(self, request: Request) -> Response:
        user = cast(User, request.user)
        pages = CursorPages()
        models = visible_models(user).select_related("project").prefetch_related("aliases")
        if slug := read_query(ListQuery, request).get("project"):
            models = models.filter(project=get_project(user, slug, "review"))
        page = pages.paginate_queryset(models, request, self)
        return pages.get_paginated_response(ModelOutput(page, many=True).data)

    @extend_schema(request=ModelInput, responses={201: ModelOutput})
    def post(self, request: Request) -> Response:
        user = cast(User, request.user)
        given = ModelInput(data=request.data)
        given.is_valid(raise_exception=True)
        data = dict(given.validated_data)
        project = get_project(user, data.pop("project"), "manage")
        try:
            model = register_model(project=project, created_by=user, **data)
        except ModelError as error:
            raise ApiError("invalid", error.message, fields={error.field: error.message}) from None
        return Response(ModelOutput(model).data, status=status.HTTP_201_CREATED)


class OneModel(APIView):
    @extend_schema(responses=ModelOutput)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ModelOutput(get_model(cast(User, request.user), pk)).data)


class Lineage(APIView):
    @extend_schema(responses=LineageOutput)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"results": lineage(get_model(cast(User, request.user), pk))})


class Promote(APIView):
    @extend_schema(request=PromotionInput, responses=PromotionOutput)
    def post(self, request: Request, pk: int) -> Response:
        user = cast(User, request.user)
        model = get_model(user, pk, "manage")
        given = PromotionInput(data=request.data)
        given.is_valid(raise_exception=True)
        held = promote_model(model=model, alias=given.validated_data["alias"], moved_by=user)
        return Response(PromotionOutput(held).data, status=status.HTTP_200_OK)
