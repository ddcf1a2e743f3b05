"""The web server and the worker of an embedded installation, as two children that are kept alive."""

import logging
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from django.conf import settings

logger = logging.getLogger(__name__)

START_SECONDS = 60
# A child that dies at once, again and again, is not started for ever.
QUICK_DEATH_SECONDS = 5
MOST_QUICK_DEATHS = 5
STOP_SECONDS = 40


class ServeError(Exception):
    """The site could not be started or kept up; the text says why."""


class Child:
    """One program, started again when it dies."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command
        self.quick_deaths = 0
        self.start()

    def start(self) -> None:
        self.started = time.monotonic()
        # A group of its own: Ctrl-C reaches this process only, which then stops the children in order.
        self.process = subprocess.Popen(self.command, cwd=settings.BASE_DIR, process_group=0)

    def revive(self) -> None:
        """Start again if it died. Raises ServeError when that does not help."""
        status = self.process.poll()
        if status is None:
            return
        quick = time.monotonic() - self.started < QUICK_DEATH_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        if self.quick_deaths >= MOST_QUICK_DEATHS:
            raise ServeError(f"The {self.name} ends as soon as it starts (status {status}); its last lines say why.")
        logger.warning("The %s ended with status %s; starting it again.", self.name, status)
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def serving(port: int) -> Iterator[list[Child]]:
    """Web server and worker, up until the block ends. Raises ServeError when the server does not come up."""
    signal.signal(signal.SIGTERM, interrupt)
    manage = [sys.executable, "manage.py"]
    web = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4",
        "--log-level", "warning", "feedback_site.wsgi",
    ]  # fmt: skip
    children: list[Child] = []
    try:
        children.append(Child("web server", web))
        wait_until_up(port, children)
        # Two at once, so that an import need not wait for a policy to be trained. Policies wait for each other.
        children.append(Child("worker", [*manage, "runworker", "--concurrency", "2"]))
        yield children
    finally:
        for child in reversed(children):
            child.stop()


def wait_until_up(port: int, children: list[Child]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except (urllib.error.URLError, OSError):
            revive_all(children)
            time.sleep(0.3)
        else:
            return
    raise ServeError(f"The web server did not answer on port {port} within {START_SECONDS} seconds.")


def keep_alive(children: list[Child]) -> None:
    """Until Ctrl-C or SIGTERM. Raises ServeError when a child cannot be kept up."""
    while True:
        revive_all(children)
        time.sleep(1)


def revive_all(children: list[Child]) -> None:
    """Start again what died. Raises ServeError when that does not help."""
    for child in children:
        child.revive()
