"""`/api/v1/jobs/`: how background work goes, and the two things that can be done about it."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from feedback_site.accounts.models import User
from feedback_site.api import Conflict, CursorPages
from feedback_site.jobs.access import get_job, visible_jobs, visible_log
from feedback_site.jobs.errors import JobConflict
from feedback_site.jobs.models import Job, JobLog
from feedback_site.jobs.services import request_cancel, retry


class ProgressOutput(serializers.Serializer[Job]):
    fraction = serializers.FloatField(min_value=0, max_value=1)
    message = serializers.CharField()


class JobOutput(serializers.ModelSerializer[Job]):
    """What every address that starts work answers with."""

    progress = serializers.SerializerMethodField()
    created_by = serializers.SlugRelatedField[User](slug_field="username", read_only=True)
    result = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id",
            "kind",
            "title",
            "scope",
            "status",
            "progress",
            "error",
            "result",
            "attempt",
            "max_attempts",
            "cancel_requested_at",
            "created_by",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    @extend_schema_field(ProgressOutput)
    def get_progress(self, job: Job) -> dict[str, Any]:
        return {"fraction": job.fraction, "message": job.message}

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": True})
    def get_result(self, job: Job) -> dict[str, Any] | None:
        return job.result


class JobLogOutput(serializers.ModelSerializer[JobLog]):
    class Meta:
        model = JobLog
        fields = ["id", "attempt", "at", "level", "message"]
        read_only_fields = fields


class LogPages(CursorPages):
    ordering = "id"


class Jobs(APIView):
    @extend_schema(
        summary="List jobs, newest first",
        parameters=[
            OpenApiParameter("scope", str, description="Whose work, such as `project:12`."),
            OpenApiParameter("status", str, enum=list(Job.Status.values)),
            OpenApiParameter("kind", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("cursor", str),
        ],
        responses=JobOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        asked = {name: query[name] for name in ("scope", "status", "kind") if query.get(name)}
        if asked.get("status", Job.Status.DONE) not in Job.Status.values:
            raise ValidationError({"status": f"This is one of: {', '.join(Job.Status.values)}."})
        pages = CursorPages()
        jobs = pages.paginate_queryset(visible_jobs(request.user).filter(**asked), request, view=self)
        return pages.get_paginated_response(JobOutput(jobs, many=True).data)


class JobDetail(APIView):
    @extend_schema(summary="Read a job: how far it is, why it failed, what came out", responses=JobOutput)
    def get(self, request: Request, pk: int) -> Response:
        return Response(JobOutput(get_job(request.user, pk)).data)


class JobLogLines(APIView):
    @extend_schema(
        summary="Read the log of a job, oldest line first",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("cursor", str)],
        responses=JobLogOutput(many=True),
    )
    def get(self, request: Request, pk: int) -> Response:
        pages = LogPages()
        log = visible_log(request.user, get_job(request.user, pk))
        return pages.get_paginated_response(
            JobLogOutput(pages.paginate_queryset(log, request, view=self), many=True).data
        )


class JobCancel(APIView):
    @extend_schema(
        summary="Cancel a job",
        description="A waiting job is cancelled at once, a running one at its next check; one that is over stays.",
        request=None,
        responses=JobOutput,
    )
    def post(self, request: Request, pk: int) -> Response:
        job = get_job(request.user, pk, "manage")
        request_cancel(job=job)
        return Response(JobOutput(job).data)


class JobRetry(APIView):
    @extend_schema(
        summary="Put a failed or cancelled job back into the queue",
        description="409 when the job is neither failed nor cancelled.",
        request=None,
        responses=JobOutput,
    )
    def post(self, request: Request, pk: int) -> Response:
        try:
            job = retry(job=get_job(request.user, pk, "manage"))
        except JobConflict as conflict:
            raise Conflict("not_over", str(conflict)) from None
        return Response(JobOutput(job).data)
