"""The sweep: jobs of dead workers go back into the queue, and bells that nobody heard are rung again."""

import logging
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from feedback_site.jobs.doorbell import ring
from feedback_site.jobs.lease import from_now
from feedback_site.jobs.models import Job, JobLog

RING_AGAIN_SECONDS = 30.0
RING_AT_ONCE = 100

logger = logging.getLogger(__name__)


def sweep() -> int:
    """Take jobs back whose lease has ended; returns how many. Safe to run anywhere, any number of times at once."""
    ended = Job.objects.filter(status=Job.Status.RUNNING, lease_until__lt=Now())
    taken = sum(_take_back(pk) for pk in list(ended.values_list("pk", flat=True)))
    if settings.BROKER_URL:
        _ring_again()
    return taken


@transaction.atomic
def _take_back(pk: int) -> bool:
    """One job. A row that its own worker has locked at this moment is alive and left alone."""
    ended = Job.objects.filter(pk=pk, status=Job.Status.RUNNING, lease_until__lt=Now())
    job = ended.select_for_update(skip_locked=True).first()
    if job is None:
        return False
    message = f"The worker {job.worker} stopped answering during attempt {job.attempt}."
    fields: dict[str, Any] = {"lease_until": None, "rung_at": None}
    if job.cancel_requested_at:
        fields |= {"status": Job.Status.CANCELLED, "finished_at": Now()}
    elif job.attempt >= job.max_attempts:
        error = f"{message} It was the last try. The machine may have run out of memory, or the worker was killed."
        fields |= {"status": Job.Status.FAILED, "finished_at": Now(), "error": error}
    else:
        fields |= {"status": Job.Status.QUEUED, "started_at": None}
    Job.objects.filter(pk=pk, status=Job.Status.RUNNING, attempt=job.attempt).update(**fields)
    JobLog.objects.create(job=job, attempt=job.attempt, level="warning", message=message)
    logger.warning("job %s taken back from %s", pk, job.worker)
    return True


def _ring_again() -> None:
    """Ring for jobs that have waited a while, those rung longest ago first. Stops at the first bell that fails."""
    again = min(RING_AGAIN_SECONDS, settings.JOB_LEASE_SECONDS / 2)
    due = Job.objects.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Job.Status.QUEUED)
    unheard = due.filter(Q(rung_at=None, created_at__lt=from_now(-1)) | Q(rung_at__lt=from_now(-again)))
    for pk in list(unheard.order_by("rung_at", "pk").values_list("pk", flat=True)[:RING_AT_ONCE]):
        if not ring(pk):
            return
