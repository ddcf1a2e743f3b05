"""Programs that a job starts: they end with the job and with the worker, and know none of the site's secrets."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from feedback_site.jobs import guard
from feedback_site.jobs.context import JobContext
from feedback_site.jobs.errors import JobFailed

POLL_SECONDS = 0.5
GUARD_SECONDS = 5.0

SECRETS = re.compile(
    r"DATABASE_URL|BROKER_URL|REDIS_URL|AMQP|DSN|^PG"
    r"|SECRET|TOKEN(?!IZERS)|PASSW|CREDENTIAL|COOKIE|AUTH|(API|ACCESS|PRIVATE)_?KEY",
    re.IGNORECASE,
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that opens the database, the broker or somebody's account."""
    public = {name: value for name, value in os.environ.items() if not SECRETS.search(name)}
    return public | {"PYTHONUNBUFFERED": "1"} | dict(extra or {})


@contextmanager
def child(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    grace: float = 20.0,
    lock: Path | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program under its guardian (guard.py). Leaving the block ends it: SIGTERM, SIGKILL after `grace` seconds.

    Output and errors are appended to the file `log`, never to a pipe that could fill. `env` is added to what
    `environment()` leaves. With `lock`, a file, only one program at a time runs under it, whoever started it: the child
    of a worker that was frozen cannot write into a folder together with the child of the next attempt.
    Call it from the thread that runs the job: the program dies with that thread.
    """
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(grace), str(lock or "-"), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            guarded,
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield process
    finally:
        end(process, grace)


def end(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask the guardian, and kill it if it does not answer: the kernel kills the program with it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(grace + GUARD_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_child(
    context: JobContext,
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    grace: float = 20.0,
    lock: Path | None = None,
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Run a program to its end for a job and return its exit status (128 + signal when a signal ended it).

    Twice a second the job is checked and `watch()` is called, which may read the program's files and call
    `context.progress()`. When the job is cancelled, lost or handed back, the program is ended first. While another
    program holds `lock`, this one waits; JobFailed when that takes much longer than the other has to end.
    """
    for _ in range(int(60 + grace)):
        with child(command, cwd=cwd, log=log, env=env, grace=grace, lock=lock) as process:
            status = _wait(process, context, watch)
        if lock is None or status != guard.LOCKED:
            return status
        context.progress(0, "Waiting for the previous attempt to let go of its folder")
        time.sleep(1)
    raise JobFailed("Another process still works in the folder of this job. End it, then retry.")


def _wait(process: "subprocess.Popen[bytes]", context: JobContext, watch: Callable[[], None]) -> int:
    while True:
        try:
            status = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            context.check()
            watch()
        else:
            watch()
            return status
