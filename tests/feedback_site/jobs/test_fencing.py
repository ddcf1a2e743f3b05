"""Who holds a job: claims that race, leases that end, and what a stale attempt may still do (nothing)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from feedback_site.jobs import runner
from feedback_site.jobs.context import JobContext, LeaseLost
from feedback_site.jobs.models import Job, JobLog
from feedback_site.jobs.registry import handler
from feedback_site.jobs.runner import claim, execute
from feedback_site.jobs.services import enqueue, request_cancel
from feedback_site.jobs.sweeping import sweep

pytestmark = pytest.mark.django_db


@pytest.fixture
def job():
    handler("work", title="Work", max_attempts=2)(lambda context: {"by": context.attempt})
    return enqueue(kind="work", params={})


def end_lease(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def both_claim(job: Job) -> list[bool]:
    """Two workers that have read the same waiting row, and then take it one after the other."""
    first, second = Job.objects.get(pk=job.pk), Job.objects.get(pk=job.pk)
    return [runner._take(first), runner._take(second)]


def test_one_of_two_workers_that_saw_the_same_row_gets_it(job):
    assert both_claim(job) == [True, False]


def test_without_its_guard_the_claim_would_be_given_twice(job, monkeypatch):
    monkeypatch.setattr(runner, "_still_waiting", lambda job: Job.objects.filter(pk=job.pk))
    assert both_claim(job) == [True, True]


def stale_and_fresh(job):
    stale = JobContext(claim(job.pk))
    end_lease(job)
    assert sweep() == 1
    return stale, JobContext(claim(job.pk))


def test_a_stale_attempt_can_neither_check_nor_progress_nor_write_nor_finish(job):
    stale, fresh = stale_and_fresh(job)
    for attempt in (stale.check, lambda: stale.progress(0.5, "mine"), stale.finish, stale.fenced().__enter__):
        with pytest.raises(LeaseLost):
            attempt()
    job.refresh_from_db()
    assert (job.status, job.attempt, job.message) == ("running", 2, "")
    fresh.finish({"by": 2})
    job.refresh_from_db()
    assert (job.status, job.result) == ("done", {"by": 2})


def test_what_a_stale_attempt_writes_behind_the_fence_is_rolled_back(job):
    context = JobContext(claim(job.pk))

    def write_and_lose_the_lease():
        with context.fenced():
            JobLog.objects.create(job=job, attempt=1, message="a result")
            Job.objects.filter(pk=job.pk).update(attempt=2)
            context.finish({})

    with pytest.raises(LeaseLost):
        write_and_lose_the_lease()
    assert not JobLog.objects.filter(message="a result").exists()


def test_results_and_end_are_one_transaction(job):
    context = JobContext(claim(job.pk))

    def finish_and_stumble():
        with context.fenced():
            JobLog.objects.create(job=job, attempt=1, message="a result")
            context.finish({})
            raise ValueError

    with pytest.raises(ValueError):
        finish_and_stumble()
    assert not context.is_finished()
    assert not JobLog.objects.filter(message="a result").exists()


def test_the_runner_leaves_a_job_alone_that_finished_itself():
    @handler("itself", title="Finish itself")
    def itself(context):
        with context.fenced():
            context.finish({"by": "itself"})
        return {"by": "the runner"}

    job = enqueue(kind="itself", params={})
    execute(claim())
    job.refresh_from_db()
    assert job.result == {"by": "itself"}


def test_the_end_of_a_stale_attempt_does_not_count(job):
    stale_job = claim(job.pk)
    end_lease(job)
    sweep()
    claim(job.pk)
    execute(stale_job)
    job.refresh_from_db()
    assert (job.status, job.attempt, job.result) == ("running", 2, None)
    assert job.log.filter(attempt=1, message__contains="is dropped").exists()


def test_a_live_lease_is_not_swept(job):
    claim(job.pk)
    assert sweep() == 0


def test_sweeping_twice_takes_a_job_back_once(job):
    claim(job.pk)
    end_lease(job)
    assert [sweep(), sweep()] == [1, 0]
    job.refresh_from_db()
    assert (job.status, job.lease_until) == ("queued", None)


def test_the_last_try_of_a_dead_worker_is_a_failure_that_says_so(job):
    for _ in range(2):
        claim(job.pk)
        end_lease(job)
        sweep()
    job.refresh_from_db()
    assert job.status == "failed"
    assert f"The worker {job.worker} stopped answering during attempt 2. It was the last try." in job.error


def test_a_dead_worker_s_job_that_was_to_be_cancelled_is_cancelled(job):
    claim(job.pk)
    request_cancel(job=job)
    end_lease(job)
    sweep()
    job.refresh_from_db()
    assert job.status == "cancelled"
