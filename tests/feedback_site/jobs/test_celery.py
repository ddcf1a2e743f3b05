"""Real Celery workers and beat, over Redis and over RabbitMQ. Each test has a queue of its own."""

import os
import signal
import uuid

import pytest

pytestmark = pytest.mark.services

BROKERS = {"redis": "PLUMB_TEST_REDIS_URL", "rabbitmq": "PLUMB_TEST_AMQP_URL"}


@pytest.fixture(params=BROKERS)
def site(request, new_site, tmp_path):
    url = os.environ.get(BROKERS[request.param])
    if not url:
        pytest.skip(f"needs {request.param}: set {BROKERS[request.param]} to the address of one")
    site = new_site(BROKER_URL=url, JOB_QUEUE=f"plumb-test-{uuid.uuid4().hex[:12]}")
    yield site
    for program in site.programs:
        program.kill()
        program.wait()
    site.ask("forget_queue")


def celery(site, *words):
    return site.start("-m", "celery", "-A", "feedback_site", *words)


def worker(site, *words):
    return celery(site, "worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *words)


def outcomes(site):
    return sorted(site.sql("SELECT job_id, count(*) FROM probes_outcome GROUP BY job_id"))


def test_a_ring_is_enough_and_a_doubled_one_does_no_harm(site):
    jobs = site.enqueue("count", times=10)
    for job in jobs * 2:
        site.ask("publish", pk=job)
    worker(site, "--pool=threads", "--concurrency=2")
    site.until_over()
    assert site.states() == {"done": 10}
    assert outcomes(site) == [[job, 1] for job in jobs]
    assert site.ask("broken") == []


def test_lost_messages_are_swept_up_by_beat(site):
    jobs = site.enqueue("count", times=5)
    for job in jobs:
        site.ask("publish", pk=job)
    assert site.ask("lose_messages") >= 5
    worker(site, "--pool=solo")
    celery(site, "beat")
    site.until_over()
    assert outcomes(site) == [[job, 1] for job in jobs]
    assert site.ask("broken") == []


def test_jobs_end_exactly_once_though_celery_workers_are_killed(site):
    jobs = site.enqueue("count", times=12, steps=10, seconds=0.03)
    celery(site, "beat")
    spare = worker(site, "--pool=threads", "--concurrency=2")
    for pool in ("--pool=prefork", "--pool=threads"):
        victim, spare = spare, worker(site, pool, "--concurrency=2")
        site.until(lambda: site.running_on() or "queued" not in site.states())
        os.kill(victim.pid, signal.SIGKILL)
    site.until_over()
    assert outcomes(site) == [[job, 1] for job in jobs]
    assert site.ask("broken") == []


def test_a_celery_worker_that_is_told_to_stop_hands_its_job_back(site):
    pool = "prefork" if "redis" in site.environment["BROKER_URL"] else "threads"
    site.enqueue("count", steps=2000, seconds=0.02)
    stopped = worker(site, f"--pool={pool}", "--concurrency=1")
    site.until(site.running_on)
    os.kill(stopped.pid, signal.SIGTERM)
    assert stopped.wait(30) == 0
    assert site.sql("SELECT status, attempt, max_attempts FROM jobs_job") == [["queued", 1, 4]]
    assert site.ask("broken") == []
