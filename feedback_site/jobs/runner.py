"""Claim a job, do it, settle it. `run_job` is the one body of Celery's worker and of `manage.py runworker`."""

import errno
import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from feedback_site.jobs import lease, registry, worker
from feedback_site.jobs.context import JobContext
from feedback_site.jobs.doorbell import ring
from feedback_site.jobs.errors import JobCancelled, JobFailed, LeaseLost, WorkerStopping
from feedback_site.jobs.joblog import kept_with
from feedback_site.jobs.models import Job

RETRY_SECONDS = (5, 30, 120)

logger = logging.getLogger(__name__)


def run_job(job_id: int) -> bool:
    """Do this job if it waits. False when somebody else has it, or it is over: a doubled message does no harm."""
    job = claim(job_id)
    if job is not None:
        execute(job)
    return job is not None


def claim(job_id: int | None = None, *, leaving: Collection[str] = ()) -> Job | None:
    """Take this job, or the oldest one that is due and of no kind in `leaving`. None when there is nothing to take."""
    due = Job.objects.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Job.Status.QUEUED)
    due = due.exclude(kind__in=leaving)
    if job_id is not None:
        due = due.filter(pk=job_id)
    if not due.exists():  # an idle worker asks without taking SQLite's write lock
        return None
    with transaction.atomic():
        job = due.order_by("pk").select_for_update(skip_locked=True).first()
        return job if job is not None and _take(job) else None


def _take(job: Job) -> bool:
    """The claim itself: one UPDATE that succeeds for one worker."""
    taken = _still_waiting(job).update(
        status=Job.Status.RUNNING,
        attempt=F("attempt") + 1,
        lease_until=lease.from_now(settings.JOB_LEASE_SECONDS),
        heartbeat=Now(),
        started_at=Now(),
        worker=worker.name(),
        fraction=0,
        message="",
        error="",
    )
    if taken:
        job.refresh_from_db()
    return bool(taken)


def _still_waiting(job: Job) -> QuerySet[Job]:
    return Job.objects.filter(pk=job.pk, status=Job.Status.QUEUED, attempt=job.attempt)


def execute(job: Job) -> None:
    """Do a claimed job and write how it ended. The job belongs to this thread until the function returns."""
    context = JobContext(job)
    with bound_contextvars(job_id=job.pk, job_kind=job.kind, attempt=job.attempt), kept_with(job), _heartbeat(job):
        try:
            result = registry.find(job.kind).run(context)
            if not context.is_finished():
                context.finish(result)
        except JobCancelled:
            _settle(context, status=Job.Status.CANCELLED)
        except LeaseLost:
            logger.warning("Attempt %s no longer holds this job; what it was about to write is dropped.", job.attempt)
        except WorkerStopping:
            _hand_back(context)
        except JobFailed as failure:
            _settle(context, status=Job.Status.FAILED, error=str(failure) or _sentence(failure))
        except (Exception, SystemExit) as error:
            _after_surprise(context, job, error)


def _mend_connection() -> None:
    """What ended the handler may have been the end of its connection."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _settle(context: JobContext, **fields: Any) -> None:
    """Write how the attempt ended, if it still holds the job."""
    _mend_connection()
    ended = lease.end(context.job_id, context.attempt, finished_at=Now(), **context.last_words() | fields)
    if not ended:
        logger.warning("Attempt %s lost the job before it could say how it ended.", context.attempt)


def _requeue(context: JobContext, **fields: Any) -> bool:
    _mend_connection()
    fields |= {"status": Job.Status.QUEUED, "started_at": None, "rung_at": None}
    return lease.end(context.job_id, context.attempt, **fields)


def _hand_back(context: JobContext) -> None:
    """The worker stops. The try does not count, and the next worker is called at once."""
    logger.info("The worker is stopping; the job waits for another one.")
    if _requeue(context, max_attempts=F("max_attempts") + 1):
        ring(context.job_id)


def _after_surprise(context: JobContext, job: Job, error: BaseException) -> None:
    """Try again a little later, or fail with a sentence. The traceback goes to the log, for staff."""
    reason = _sentence(error)
    if job.attempt >= job.max_attempts:
        logger.error("%s", reason, exc_info=error)
        tries = "It was tried once." if job.attempt == 1 else f"It was tried {job.attempt} times."
        _settle(context, status=Job.Status.FAILED, error=f"{reason} {tries}")
        return
    wait = RETRY_SECONDS[min(job.attempt, len(RETRY_SECONDS)) - 1]
    logger.warning("%s Trying again in %s seconds.", reason, wait, exc_info=error)
    _requeue(context, not_before=lease.from_now(wait), message=f"{reason} Trying again."[:300])


def _sentence(error: BaseException) -> str:
    """What happened, without what only a programmer can read."""
    if isinstance(error, MemoryError):
        return "The worker ran out of memory."
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk is full."
    if isinstance(error, Error):
        return f"The database refused a step ({type(error).__name__})."
    return f"The work stopped at an error that nobody foresaw ({type(error).__name__})."


@contextmanager
def _heartbeat(job: Job) -> Iterator[None]:
    """Renew the lease every third of it, in a thread with its own connection, whatever the handler is busy with."""
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(job.pk, job.attempt, over), name=f"heartbeat-{job.pk}", daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()


def _beat(job_id: int, attempt: int, over: threading.Event) -> None:
    """Whether the lease still holds is for `check()` and `fenced()` to find out; this thread only keeps it alive."""
    while not over.wait(settings.JOB_LEASE_SECONDS / 3):
        try:
            close_old_connections()
            lease.renew(job_id, attempt)
        except Error as error:
            logger.warning("the lease of job %s could not be renewed (%s); trying again", job_id, error)
            connection.close()
    connection.close()
