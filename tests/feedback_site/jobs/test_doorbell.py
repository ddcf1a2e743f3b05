"""The doorbell: what a request pays for a broker that is down, and that nothing but time is lost."""

import socket
import time

import pytest

from feedback_site.jobs import doorbell, sweeping
from feedback_site.jobs.models import Job
from feedback_site.jobs.registry import handler
from feedback_site.jobs.runner import claim, execute
from feedback_site.jobs.services import enqueue, request_cancel, retry
from feedback_site.jobs.sweeping import sweep

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def heard(monkeypatch, settings):
    """A broker that takes every message; the numbers of the jobs that it was told about."""
    import feedback_site.celery

    heard = []
    settings.BROKER_URL = "memory://"
    monkeypatch.setattr(feedback_site.celery, "publish", heard.append)
    monkeypatch.setattr(doorbell, "_quiet_until", 0.0)
    handler("work", title="Work")(lambda context: None)
    return heard


def test_the_bell_rings_when_the_row_is_committed_and_not_before(heard, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = enqueue(kind="work", params={})
        assert heard == []
    assert heard == [job.pk]
    job.refresh_from_db()
    assert job.rung_at is not None


def test_a_retry_rings_too(heard, django_capture_on_commit_callbacks):
    job = enqueue(kind="work", params={})
    request_cancel(job=job)
    with django_capture_on_commit_callbacks(execute=True):
        retry(job=job)
    assert heard == [job.pk]


def test_a_job_that_nobody_came_for_is_rung_for_again(heard, monkeypatch, settings):
    settings.JOB_LEASE_SECONDS = 60
    job = enqueue(kind="work", params={})
    sweep()
    assert heard == [], "it has only just been asked for"
    backdate = Job.objects.get(pk=job.pk).created_at.replace(year=2020)
    Job.objects.update(created_at=backdate)
    sweep()
    assert heard == [job.pk]
    sweep()
    assert heard == [job.pk], "it was rung for just now"
    Job.objects.update(rung_at=backdate)
    sweep()
    assert heard == [job.pk] * 2


def test_jobs_that_wait_for_their_next_try_are_not_rung_for(heard):
    job = enqueue(kind="work", params={})
    year = Job.objects.get(pk=job.pk).created_at.year
    Job.objects.update(created_at=job.created_at.replace(year=2020), not_before=job.created_at.replace(year=year + 1))
    sweep()
    assert heard == []


def test_the_sweep_stops_at_the_first_bell_that_fails(monkeypatch):
    rung = []
    monkeypatch.setattr(sweeping, "ring", lambda pk: rung.append(pk))
    for _ in range(3):
        enqueue(kind="work", params={})
    Job.objects.update(created_at=Job.objects.first().created_at.replace(year=2020))
    sweep()
    assert len(rung) == 1


def test_a_bell_that_breaks_fails_no_request_and_the_job_is_still_found(
    monkeypatch, client_for, alice, django_capture_on_commit_callbacks
):
    def broken(job_id):
        raise ConnectionError

    monkeypatch.setattr("feedback_site.celery.publish", broken)
    job = enqueue(kind="work", params={}, created_by=alice)
    request_cancel(job=job)
    with django_capture_on_commit_callbacks(execute=True):
        assert client_for(alice).post(f"/jobs/{job.pk}/retry/").status_code == 302
    job.refresh_from_db()
    assert (job.status, job.rung_at) == ("queued", None)
    execute(claim())
    job.refresh_from_db()
    assert job.status == "done"


@pytest.mark.parametrize("scheme", ["redis://127.0.0.1:{port}/0", "amqp://guest:guest@127.0.0.1:{port}//"])
@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
def test_a_dead_broker_costs_little_and_only_once(monkeypatch, settings, scheme, answers):
    """Nobody listens on the port, or somebody does and never answers."""
    monkeypatch.undo()
    monkeypatch.setattr(doorbell, "_quiet_until", 0.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers:
            listener.listen()
        url = scheme.format(port=listener.getsockname()[1])
        settings.BROKER_URL = url
        monkeypatch.setattr("feedback_site.celery.app.conf.broker_url", url)
        monkeypatch.setattr("feedback_site.celery.app.conf.broker_write_url", url)
        began = time.monotonic()
        assert [doorbell.ring(n) for n in range(50)] == [False] * 50
        assert time.monotonic() - began < 50 * doorbell.RING_SECONDS / 10, "all but the first cost nothing"


def test_without_a_broker_nothing_is_rung(settings, heard):
    settings.BROKER_URL = ""
    assert not doorbell.ring(1)
    assert heard == []
