"""Who holds a job. Every write that depends on holding it is an UPDATE guarded by the attempt number.

Times come from the database, so that workers whose clocks differ agree about leases.
"""

import mmap
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet
from django.db.models.functions import Now

from feedback_site.jobs.models import Job

# Shared memory: the processes that a Celery worker forks see the flag that its main process sets.
_stopping = mmap.mmap(-1, 1)


def stop_worker() -> None:
    """Ask every job of this worker to hand itself back at its next check."""
    _stopping[0] = 1


def worker_is_stopping() -> bool:
    return bool(_stopping[0])


def from_now(seconds: float) -> ExpressionWrapper:
    """The database's own time, and so many seconds."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def sweep_seconds() -> float:
    """How often expired leases are looked for: every 15 s, or more often when leases are short."""
    return min(15.0, settings.JOB_LEASE_SECONDS / 3)


def held(job_id: int, attempt: int) -> QuerySet[Job]:
    """The job, if this attempt still holds it."""
    return Job.objects.filter(pk=job_id, status=Job.Status.RUNNING, attempt=attempt)


def renew(job_id: int, attempt: int) -> bool:
    """Move the end of the lease. False when the attempt no longer holds the job."""
    return bool(held(job_id, attempt).update(heartbeat=Now(), lease_until=from_now(settings.JOB_LEASE_SECONDS)))


def end(job_id: int, attempt: int, **fields: Any) -> bool:
    """Give the job up with these fields. False when the attempt no longer holds it, and then nothing is written."""
    return bool(held(job_id, attempt).update(lease_until=None, **fields))
