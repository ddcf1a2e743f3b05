"""One job from enqueue to its end, in one process."""

import pytest

from feedback_site.jobs.context import JobCancelled, JobFailed
from feedback_site.jobs.models import Job
from feedback_site.jobs.registry import handler
from feedback_site.jobs.runner import run_job
from feedback_site.jobs.services import enqueue, request_cancel, retry
from tests.jobs import run_all_jobs

pytestmark = pytest.mark.django_db


def test_a_job_runs_once_and_keeps_what_it_returned():
    @handler("add", title="Add two numbers")
    def add(context):
        context.progress(0.5, "half of it")
        context.log("adding")
        return {"sum": context.params["a"] + context.params["b"]}

    job = enqueue(kind="add", params={"a": 2, "b": 3})
    assert run_job(job.pk)
    assert not run_job(job.pk), "a doubled message must do nothing"
    job.refresh_from_db()
    assert (job.status, job.result, job.fraction, job.attempt) == ("done", {"sum": 5}, 1, 1)
    assert job.title == "Add two numbers"
    assert [line.message for line in job.log.all()] == ["adding"]
