"""What a job looks like in the API, for every room that answers 202 with one."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from feedback_site.jobs.models import Job


class JobProgress(serializers.Serializer[Any]):
    fraction = serializers.FloatField()
    message = serializers.CharField()


class JobOutput(serializers.ModelSerializer[Job]):
    progress = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id", "kind", "title", "status", "progress", "error", "result", "attempt", "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    @extend_schema_field(JobProgress)
    def get_progress(self, job: Job) -> dict[str, Any]:
        return {"fraction": job.fraction, "message": job.message}
