"""The doorbell: a message that says “there is work”. It may be lost, doubled or late; the row is the truth."""

import logging
import threading
import time

from django.conf import settings
from django.db.models.functions import Now

from feedback_site.jobs.models import Job

RING_SECONDS = 0.7
QUIET_SECONDS = 5.0

logger = logging.getLogger(__name__)
_quiet_until = 0.0


def ring(job_id: int) -> bool:
    """Tell the workers about a job. False when there is no broker, or it did not take the message in time.

    Costs at most RING_SECONDS, whatever the broker or the name server does, and nothing for QUIET_SECONDS after a
    failure: a request that enqueues many jobs pays for a dead broker once.
    """
    global _quiet_until
    if not settings.BROKER_URL or time.monotonic() < _quiet_until:
        return False
    failure: list[BaseException] = []
    bell = threading.Thread(target=_publish, args=(job_id, failure), name="doorbell", daemon=True)
    bell.start()
    bell.join(RING_SECONDS)
    if bell.is_alive() or failure:
        _quiet_until = time.monotonic() + QUIET_SECONDS
        why = repr(failure[0]) if failure else f"no answer within {RING_SECONDS} s"
        logger.warning("the broker did not take the message about job %s (%s); the sweep will ring again", job_id, why)
        return False
    Job.objects.filter(pk=job_id).update(rung_at=Now())
    return True


def _publish(job_id: int, failure: list[BaseException]) -> None:
    from feedback_site.celery import publish  # Celery is loaded by those who ring, not by every process

    try:
        publish(job_id)
    except Exception as error:
        failure.append(error)
