"""`manage.py runworker`: do jobs without a broker, or beside one."""

import logging
import signal
import threading
from argparse import ArgumentParser
from contextlib import ExitStack
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, close_old_connections, connection

from feedback_site.jobs import registry, worker
from feedback_site.jobs.runner import claim, execute
from feedback_site.jobs.sweeping import sweep

POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0

# Held by the thread whose job uses the whole machine: two such jobs at once would take longer than one after the other.
_whole_machine = threading.Lock()

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Do jobs: look into the table twice a second, and sweep up after dead workers. On SIGTERM or Ctrl-C it takes "
        "no new jobs; those that run hand themselves back at their next check, or finish. "
        "A second signal ends it at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Do what is due now, then end.")
        parser.add_argument(
            "--concurrency",
            type=int,
            default=1,
            metavar="N",
            help="So many jobs at once (default 1), of which one at most trains or samples.",
        )

    def handle(self, *, once: bool, concurrency: int, **options: Any) -> None:
        if not 1 <= concurrency <= 64:
            raise CommandError("--concurrency is a number from 1 to 64.")
        stop = threading.Event()
        _listen(stop)
        if once:
            _sweep()
            while not stop.is_set() and _next_job():
                pass
            return
        # Threads, so that sweeping and signals do not wait for a job. They live as long as the process, which is what
        # ties the children of a job to its life (see children.py).
        threads = [threading.Thread(target=_work, args=(stop,), name=f"worker-{n}") for n in range(concurrency)]
        for thread in threads:
            thread.start()
        logger.info("worker %s is waiting for jobs", worker.name())
        while not stop.wait(worker.sweep_seconds()):
            _sweep()
        for thread in threads:
            thread.join()
        logger.info("worker %s has stopped", worker.name())


def _listen(stop: threading.Event) -> None:
    def stop_working(signum: int, frame: FrameType | None) -> None:
        worker.stop()
        stop.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, stop_working)
    signal.signal(signal.SIGINT, stop_working)


def _work(stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            if not _next_job():
                stop.wait(POLL_SECONDS)
        except Exception:  # the database may be away for a while; its jobs must find this worker when it is back
            logger.exception("could not take or settle a job; trying again in %s s", PAUSE_SECONDS)
            connection.close()
            stop.wait(PAUSE_SECONDS)
    connection.close()


def _next_job() -> bool:
    close_old_connections()
    with ExitStack() as holding:
        alone = registry.of_whole_machine()
        if free := _whole_machine.acquire(blocking=False):
            holding.callback(_whole_machine.release)
        job = claim(leaving=() if free else alone)
        if job is not None and job.kind not in alone:
            holding.close()
        if job is not None:
            execute(job)
    return job is not None


def _sweep() -> None:
    try:
        close_old_connections()
        sweep()
    except Error as error:
        logger.warning("could not sweep (%s); trying again", error)
        connection.close()
