"""The guardian of a child process: `python -I -S guard.py WORKER_PID GRACE LOCK|- PROGRAM ARGUMENTS…`.

It stands between a worker and the program that the worker started, so that nothing of that program outlives either:

- the kernel sends it SIGTERM when the worker's thread dies (PR_SET_PDEATHSIG), however that happened;
- on SIGTERM it asks the program to end by SIGTERM, and kills its process group after GRACE seconds;
- it is the subreaper of everything below it, so that processes which left the group are found and killed too;
- should it be killed itself, the kernel kills the program.

It ends as the program ended (128 + signal for a signal), 127 when the program cannot be started, and 199 when LOCK is
held by somebody else. Standard library only, and no package of ours: it starts in a few milliseconds and before
anything heavy is loaded. A `preexec_fn` of the worker could not do this: it is not safe in a process with threads.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 127
LOCKED = 199
LISTEN = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def prctl(option: int, value: int) -> None:
    if LIBC is not None:
        LIBC.prctl(option, value, 0, 0, 0)


def hold(path: str) -> int | None:
    """An exclusive lock that lasts as long as any process below this one. None when somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return descriptor


def die_with_me() -> None:
    """Runs in the program's process just before the program. The guardian has one thread, so this is safe."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LISTEN)


def signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def watch(program: "subprocess.Popen[bytes]", grace: float) -> int:
    """Wait for the program's end, or for the word to end it."""
    while program.poll() is None:
        if signal.sigwait(LISTEN) == signal.SIGCHLD:
            continue
        signal_group(program.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            program.wait(grace)
        signal_group(program.pid, signal.SIGKILL)
    return program.wait()


def kill_the_rest() -> None:
    """Everything that this process has adopted, until nothing is left."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.exists() and (left := [int(pid) for pid in children.read_text().split()]):
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main(worker: int, grace: float, lock: str, command: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, LISTEN)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != worker:  # it died before the kernel was told
        return 128 + signal.SIGTERM
    held = None if lock == "-" else hold(lock)
    if held is None and lock != "-":
        return LOCKED
    keep = [] if held is None else [held]
    try:
        program = subprocess.Popen(command, process_group=0, preexec_fn=die_with_me, pass_fds=keep)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}.", file=sys.stderr)  # noqa: T201
        return CANNOT_START
    code = watch(program, grace)
    signal_group(program.pid, signal.SIGKILL)
    kill_the_rest()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]))
