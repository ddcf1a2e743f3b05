"""What a handler sees of its job: parameters, progress, log, and the proof that it still holds the job."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from feedback_site.jobs import lease, worker
from feedback_site.jobs.errors import JobCancelled, JobFailed, LeaseLost, WorkerStopping
from feedback_site.jobs.models import Job

__all__ = ["JobCancelled", "JobContext", "JobFailed", "LeaseLost", "WorkerStopping"]

PROGRESS_SECONDS = 0.5


class JobContext:
    """One attempt at one job."""

    def __init__(self, job: Job) -> None:
        self.job_id: int = job.pk
        self.attempt: int = job.attempt
        self.params: dict[str, Any] = job.params
        self.scope: str = job.scope
        self.created_by_id: int | None = job.created_by_id
        self._logger = logging.getLogger(f"{__name__}.{job.kind}")
        self._unwritten: dict[str, Any] = {}
        self._written_at = float("-inf")

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the job is, 0 to 1. Cheap enough to call for every row: it writes twice a second at most.

        Each write is a check as well; it raises what `check()` raises.
        """
        self._unwritten = {"fraction": min(max(float(fraction), 0.0), 1.0), "message": message[:300]}
        if time.monotonic() - self._written_at < PROGRESS_SECONDS:
            if worker.is_stopping():
                raise WorkerStopping
            return
        self._written_at = time.monotonic()
        lease.held(self.job_id, self.attempt).update(**self._unwritten)
        self.check()

    def log(self, message: str, level: str = "info") -> None:
        """Add a line to the log that people read on the job's page. Levels: info, warning, error."""
        self._logger.log(getattr(logging, level.upper()), "%s", message)

    def check(self) -> None:
        """One small read. Raises JobCancelled, LeaseLost or WorkerStopping when the handler should stop here."""
        row = Job.objects.filter(pk=self.job_id).values_list("attempt", "status", "cancel_requested_at").first()
        if row is None or row[:2] != (self.attempt, Job.Status.RUNNING):
            raise LeaseLost
        if row[2]:
            raise JobCancelled
        if worker.is_stopping():
            raise WorkerStopping

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction that only the attempt that holds the job can commit. Results are written inside it.

        The row of the job stays locked until the end, so nobody can take the job over half-way. Raises LeaseLost.
        """
        with transaction.atomic():
            if not lease.renew(self.job_id, self.attempt):
                raise LeaseLost
            yield

    def finish(self, result: dict[str, Any] | None = None) -> None:
        """The job is done. Called as the last line inside `fenced()`, results and end are one transaction.

        A handler that does not call it is finished with what it returns. Raises LeaseLost.
        """
        json.dumps(result, allow_nan=False)  # refused here, before a statement fails and takes the transaction with it
        fields = self.last_words() | {"status": Job.Status.DONE, "fraction": 1, "result": result, "error": ""}
        if not lease.end(self.job_id, self.attempt, finished_at=Now(), **fields):
            raise LeaseLost

    def is_finished(self) -> bool:
        """Whether this attempt has called `finish()` in a transaction that was committed."""
        return Job.objects.filter(pk=self.job_id, attempt=self.attempt, status=Job.Status.DONE).exists()

    def last_words(self) -> dict[str, Any]:
        """The progress that was said but not yet written."""
        return self._unwritten
