"""Runs over HTTP (design, section 7)."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.access import get_project
from annotate.models import Project
from exports.models import DatasetVersion
from feedback_site.accounts.models import User
from feedback_site.api import ApiError, CursorPages
from feedback_site.jobs.api import JobOutput
from feedback_site.jobs.services import request_cancel
from training.access import get_model, get_run, get_version_by_id, visible_runs
from training.api.serializers import ListQuery, MetricsOutput, MetricsQuery, RunInput, RunOutput, read_query
from training.models import Model, Run
from training.progress import read_metrics
from training.services.runs import DEFAULT_PROMPTS, RunError, Selection, start_run

Thing = TypeVar("Thing", Model, DatasetVersion)


class Runs(APIView):
    @extend_schema(operation_id="runs_list", parameters=[ListQuery], responses=RunOutput(many=True))
    def get(self, request: Request) -> Response:
        user = cast(User, request.user)
        pages = CursorPages()
        runs = visible_runs(user).select_related("project", "job", "output_model")
        if slug := read_query(ListQuery, request).get("project"):
            runs = runs.filter(project=get_project(user, slug, "review"))
        page = pages.paginate_queryset(runs, request, self)
        return pages.get_paginated_response(RunOutput(page, many=True).data)

    @extend_schema(request=RunInput, responses={201: RunOutput})
    def post(self, request: Request) -> Response:
        user = cast(User, request.user)
        given = RunInput(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        model = _named(user, data, "model", get_model)
        version = _named(user, data, "dataset_version", get_version_by_id)
        try:
            run = start_run(
                project=_project(user, data, model, version),
                task=data["task"],
                method=data["method"],
                model=model,
                dataset_version=version,
                config=data["config"],
                selection=_selection(data),
                created_by=user,
            )
        except RunError as error:
            raise ApiError("invalid", error.message, fields={error.field: error.message}) from None
        return Response(RunOutput(run).data, status=status.HTTP_201_CREATED)


def _named(user: User, data: dict[str, Any], field: str, get: Callable[[User, int, str], Thing]) -> Thing | None:
    """What a field of the body names by its id. ApiError, still a 404 for outsiders, says which field."""
    if data[field] is None:
        return None
    try:
        return get(user, data[field], "manage")
    except Http404:
        message = f"There is no {field.replace('_', ' ')} {data[field]}, or it is not yours to see."
        raise ApiError("not_found", message, status=404, fields={field: message}) from None


def _selection(data: dict[str, Any]) -> Selection | None:
    if data["task"] != Run.Task.SAMPLE and "prompts" not in data:
        return None
    return Selection(prompts=data.get("prompts", DEFAULT_PROMPTS), items=data["items"])


def _project(user: User, data: dict[str, Any], model: Model | None, version: DatasetVersion | None) -> Project:
    if model is not None:
        return model.project
    if version is not None:
        return version.dataset.project
    if "project" not in data:
        raise ApiError("invalid", "Name the project.", fields={"project": "Name the project, or a model of it."})
    return get_project(user, data["project"], "manage")


class OneRun(APIView):
    @extend_schema(responses=RunOutput)
    def get(self, request: Request, pk: int) -> Response:
        return Response(RunOutput(get_run(cast(User, request.user), pk)).data)


class RunMetrics(APIView):
    @extend_schema(parameters=[MetricsQuery], responses=MetricsOutput)
    def get(self, request: Request, pk: int) -> Response:
        run = get_run(cast(User, request.user), pk)
        after = read_query(MetricsQuery, request)["after"]
        return Response({"results": read_metrics(run, after=after), "next": None})


class CancelRun(APIView):
    @extend_schema(request=None, responses={202: JobOutput})
    def post(self, request: Request, pk: int) -> Response:
        run: Run = get_run(cast(User, request.user), pk, "manage")
        if run.job is None:
            raise ApiError("gone", "The job of this run was deleted; there is nothing to cancel.", status=409)
        request_cancel(job=run.job)
        return Response(JobOutput(run.job).data, status=status.HTTP_202_ACCEPTED)
