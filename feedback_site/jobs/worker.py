"""What a worker process knows about itself. Needs no models: Celery reads it before Django is set up."""

import mmap
import os
import socket

from django.conf import settings

# Shared memory: the processes that a Celery worker forks see the flag that its main process sets.
_stopping = mmap.mmap(-1, 1)


def stop() -> None:
    """Ask every job of this worker to hand itself back at its next check."""
    _stopping[0] = 1


def is_stopping() -> bool:
    return bool(_stopping[0])


def name() -> str:
    """Machine and process, for people who look for a worker that stopped answering."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"


def sweep_seconds() -> float:
    """How often expired leases are looked for: every 15 s, or more often when leases are short."""
    return min(15.0, settings.JOB_LEASE_SECONDS / 3)
