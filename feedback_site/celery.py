"""Celery, for installations with a broker. It carries doorbell messages only; what runs is decided by the Job rows."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedback_site.settings")

from django.conf import settings

from feedback_site.jobs import worker

# A publisher's patience. Workers keep Celery's own time-outs: they wait for messages as long as it takes.
PUBLISH = {
    "connect_timeout": 0.5,
    "transport_options": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5, "max_retries": 0},
}

app = Celery("plumb")
app.conf.update(
    broker_url=settings.BROKER_URL or None,
    task_default_queue=settings.JOB_QUEUE,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    # The jobs page and the database say what the workers do; without remote control no queues are made for asking them.
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    beat_schedule_filename=str(settings.DATA_DIR / "celerybeat-schedule"),
    beat_schedule={
        "sweep": {
            "task": "feedback_site.sweep",
            "schedule": worker.sweep_seconds(),
            "options": {"expires": worker.sweep_seconds()},
        }
    },
)


@app.task(name="feedback_site.run_job")
def run_job(job_id: int) -> None:
    """The one task for jobs of all kinds."""
    from feedback_site.jobs import runner

    runner.run_job(job_id)


@app.task(name="feedback_site.sweep")
def sweep() -> None:
    from feedback_site.jobs import sweeping

    sweeping.sweep()


def publish(job_id: int) -> None:
    """Send the message about a job, over a connection that gives up quickly. Raises what the broker raises."""
    with app.connection_for_write(**PUBLISH) as connection:
        run_job.apply_async(args=[job_id], connection=connection, retry=False)


@worker_shutting_down.connect
def let_jobs_hand_themselves_back(**_: Any) -> None:
    worker.stop()
