"""Who holds a job. Every write that depends on holding it is an UPDATE guarded by the attempt number.

Times come from the database, so that workers whose clocks differ agree about leases.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet
from django.db.models.functions import Now

from feedback_site.jobs.models import Job


def from_now(seconds: float) -> ExpressionWrapper:
    """The database's own time, and so many seconds."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def held(job_id: int, attempt: int) -> QuerySet[Job]:
    """The job, if this attempt still holds it."""
    return Job.objects.filter(pk=job_id, status=Job.Status.RUNNING, attempt=attempt)


def renew(job_id: int, attempt: int) -> bool:
    """Move the end of the lease. False when the attempt no longer holds the job."""
    return bool(held(job_id, attempt).update(heartbeat=Now(), lease_until=from_now(settings.JOB_LEASE_SECONDS)))


def end(job_id: int, attempt: int, **fields: Any) -> bool:
    """Give the job up with these fields. False when the attempt no longer holds it, and then nothing is written."""
    return bool(held(job_id, attempt).update(lease_until=None, **fields))
