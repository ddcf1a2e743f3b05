"""The verbs of jobs: enqueue, cancel, retry."""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from feedback_site.accounts.models import User
from feedback_site.jobs import registry
from feedback_site.jobs.doorbell import ring
from feedback_site.jobs.errors import JobConflict
from feedback_site.jobs.models import Job


def enqueue(
    *,
    kind: str,
    params: dict[str, Any],
    title: str = "",
    created_by: User | None = None,
    scope: str = "",
    max_attempts: int | None = None,
) -> Job:
    """Write the job in the caller's transaction; ring the doorbell when that commits.

    Without `max_attempts` and `title` those of the handler hold. A bell that does not ring fails nothing: the job is
    found by the sweep.
    """
    handler = registry.find(kind)
    job = Job.objects.create(
        kind=kind,
        params=params,
        title=(title or handler.title)[:200],
        created_by=created_by,
        scope=scope,
        max_attempts=max_attempts or handler.max_attempts,
    )
    transaction.on_commit(partial(ring, job.pk), robust=True)
    return job


def request_cancel(*, job: Job) -> None:
    """End a waiting job now, and a running one at its next check. Nothing happens to a job that is over."""
    now = {"cancel_requested_at": Now(), "finished_at": Now(), "status": Job.Status.CANCELLED}
    if not Job.objects.filter(pk=job.pk, status=Job.Status.QUEUED).update(**now):
        running = Job.objects.filter(pk=job.pk, status=Job.Status.RUNNING, cancel_requested_at=None)
        running.update(cancel_requested_at=Now())
    job.refresh_from_db()


def retry(*, job: Job) -> Job:
    """Put a failed or cancelled job back into the queue, with as many tries as its kind has.

    The attempt number goes on counting: it is the fencing token, so no number is ever used twice.
    """
    handler = registry.HANDLERS.get(job.kind)
    tries = handler.max_attempts if handler else 1
    with transaction.atomic():
        over = Job.objects.filter(pk=job.pk, status__in=[Job.Status.FAILED, Job.Status.CANCELLED])
        queued = over.update(
            status=Job.Status.QUEUED,
            max_attempts=F("attempt") + tries,
            not_before=None,
            rung_at=None,
            cancel_requested_at=None,
            fraction=0,
            message="",
            error="",
            result=None,
            started_at=None,
            finished_at=None,
        )
        job.refresh_from_db()
        if not queued:
            state = job.get_status_display().lower()
            raise JobConflict(f"This job is {state}; only failed or cancelled jobs are retried.")
        transaction.on_commit(partial(ring, job.pk), robust=True)
    return job
