"""A process with the site loaded that forks real workers on request, and asks the database for the test.

Forking spares each worker the start of Python and Django, so that killing dozens of them takes seconds.
It reads requests as lines of JSON from standard input and ends with its workers when that closes.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

WORKERS: set[int] = set()


def worker(log: str, concurrency: int) -> int:
    """Fork `manage.py runworker`; its process id."""
    from django.core.management import call_command
    from django.db import connections

    connections.close_all()
    pid = os.fork()
    if pid:
        WORKERS.add(pid)
        return pid
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    status = 1
    try:
        call_command("runworker", concurrency=concurrency)
        status = 0
    finally:
        os._exit(status)


def enqueue(kind: str, params: dict[str, Any], times: int) -> list[int]:
    from feedback_site.jobs.services import enqueue as enqueue_one

    return [enqueue_one(kind=kind, params=params).pk for _ in range(times)]


def cancel(pk: int) -> None:
    from feedback_site.jobs.models import Job
    from feedback_site.jobs.services import request_cancel

    request_cancel(job=Job.objects.get(pk=pk))


def sweep() -> int:
    from feedback_site.jobs.sweeping import sweep as sweep_once

    return sweep_once()


def sql(query: str) -> list[list[Any]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return [list(row) for row in cursor.fetchall()] if cursor.description else []


def broken() -> list[str]:
    """The sentences of `manage.py verify` that do not hold, for jobs."""
    from feedback_site.jobs.verify import CHECKS

    return [f"{sentence} {rows}" for _, sentence, query in CHECKS if (rows := sql(query))]


def publish(pk: int) -> None:
    """Send the message as the doorbell does, with all the patience that a busy machine needs."""
    from feedback_site.celery import run_job

    run_job.apply_async(args=[pk])


def lose_messages() -> int:
    from feedback_site.celery import app

    with app.connection_for_write() as connection:
        return connection.default_channel.queue_purge(app.conf.task_default_queue)


def forget_queue() -> None:
    from feedback_site.celery import app

    with app.connection_for_write() as connection:
        queue = app.amqp.queues[app.conf.task_default_queue].bind(connection.default_channel)
        queue.declare()  # Redis forgets only what this process knows of
        queue.delete()


def reap(*_: Any) -> None:
    for pid in list(WORKERS):
        if os.waitpid(pid, os.WNOHANG)[0]:
            WORKERS.discard(pid)


def main() -> None:
    django.setup()
    signal.signal(signal.SIGCHLD, reap)
    requests: list[Callable[..., Any]] = [
        worker,
        enqueue,
        cancel,
        sweep,
        sql,
        broken,
        publish,
        lose_messages,
        forget_queue,
    ]
    known = {request.__name__: request for request in requests}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(str(Path(os.environ["PLUMB_DATA"]) / "nursery.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(known[name](**arguments), default=str), file=answers, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in WORKERS:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
