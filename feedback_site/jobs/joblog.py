"""What is logged while a job runs is kept with the job, through Python's own logging."""

import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connection

from feedback_site.jobs.models import Job, JobLog

OUR_ROOMS = ("feedback_site", "annotate", "exports", "training")
LONGEST_LINE = 20_000
FOR_STAFF = "debug"  # the level of tracebacks: only staff sees it


class JobLogHandler(logging.Handler):
    """Keeps the records of one thread: those of our rooms, and warnings of anybody.

    Inside a transaction the lines wait for its end, so that a rollback does not take the explanation with it.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(logging.DEBUG)
        self._job = job
        self._thread = threading.get_ident()
        self._waiting: list[JobLog] = []

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.partition(".")[0] in OUR_ROOMS
        if record.thread != self._thread or not (ours or record.levelno >= logging.WARNING):
            return
        self._add(record.levelname.lower(), _text(record))
        if record.exc_info:
            self._add(FOR_STAFF, "".join(traceback.format_exception(record.exc_info[1])))
        if not connection.in_atomic_block:
            self.write()

    def _add(self, level: str, message: str) -> None:
        message = message.replace("\x00", "")[:LONGEST_LINE]
        self._waiting.append(JobLog(job=self._job, attempt=self._job.attempt, level=level[:10], message=message))

    def write(self) -> None:
        """Lines that the database does not take now are kept for the next time."""
        lines, self._waiting = self._waiting, []
        try:
            JobLog.objects.bulk_create(lines)
        except Error:
            self._waiting = lines


def _text(record: logging.LogRecord) -> str:
    """The sentence of a record; structlog's events are dictionaries."""
    if isinstance(record.msg, dict):
        event = {key: value for key, value in record.msg.items() if not key.startswith("_")}
        words = [str(event.pop("event", ""))]
        hidden = {"level", "logger", "timestamp", "job_id", "job_kind", "attempt"}
        return " ".join(words + [f"{key}={value}" for key, value in event.items() if key not in hidden])
    return record.getMessage()


@contextmanager
def kept_with(job: Job) -> Iterator[JobLogHandler]:
    """Keep what this thread logs with the job, until the end of the block."""
    handler = JobLogHandler(job)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        handler.write()
