"""One job from enqueue to its end, in one process."""

import logging

import pytest
import structlog
from django.db import connection, transaction

from feedback_site.jobs import worker
from feedback_site.jobs.context import JobCancelled, JobFailed
from feedback_site.jobs.errors import JobConflict
from feedback_site.jobs.models import Job
from feedback_site.jobs.registry import handler
from feedback_site.jobs.runner import claim, execute, run_job
from feedback_site.jobs.services import enqueue, request_cancel, retry
from feedback_site.jobs.verify import CHECKS
from tests.jobs import run_all_jobs

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_broken(db):
    """After every test the invariants hold."""
    yield
    for _, sentence, query in CHECKS:
        with connection.cursor() as cursor:
            cursor.execute(query)
            assert not cursor.fetchall(), sentence


def test_a_job_runs_once_and_keeps_what_it_returned():
    @handler("add", title="Add two numbers")
    def add(context):
        context.progress(0.5, "half of it")
        context.log("adding")
        return {"sum": context.params["a"] + context.params["b"]}

    job = enqueue(kind="add", params={"a": 2, "b": 3}, scope="project:7")
    assert run_job(job.pk)
    assert not run_job(job.pk), "a doubled message must do nothing"
    job.refresh_from_db()
    assert (job.status, job.result, job.fraction, job.attempt) == ("done", {"sum": 5}, 1, 1)
    assert (job.title, job.message, job.scope) == ("Add two numbers", "half of it", "project:7")
    assert [line.message for line in job.log.all()] == ["adding"]


def test_jobs_are_done_in_the_order_in_which_they_were_asked_for():
    done = []
    handler("note", title="Note")(lambda context: done.append(context.params["n"]))
    for n in range(4):
        enqueue(kind="note", params={"n": n})
    run_all_jobs()
    assert done == [0, 1, 2, 3]


def test_an_expected_failure_is_shown_as_it_is_and_not_tried_again():
    @handler("refuse", title="Refuse")
    def refuse(context):
        raise JobFailed("Row 86 of hh_harmless has an empty reply. Remove it and import again.")

    job = enqueue(kind="refuse", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("failed", 1)
    assert job.error == "Row 86 of hh_harmless has an empty reply. Remove it and import again."


def test_a_surprise_is_tried_again_and_then_told_without_its_traceback():
    handler("divide", title="Divide", max_attempts=2)(lambda context: {"share": 1 // 0})
    job = enqueue(kind="divide", params={})
    execute(claim())
    job.refresh_from_db()
    assert job.status == "queued"
    assert job.not_before is not None, "the second try waits a little"
    assert claim() is None
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("failed", 2)
    assert job.error == "The work stopped at an error that nobody foresaw (ZeroDivisionError). It was tried 2 times."
    told = job.log.exclude(level="debug")
    assert not any("Traceback" in line.message for line in told)
    assert all("ZeroDivisionError" in line.message for line in job.log.filter(level="debug"))
    assert job.log.filter(level="debug").count() == 2, "staff can read both tracebacks"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "The worker ran out of memory."),
        (OSError(28, "No space left on device"), "The disk is full."),
        (SystemExit(1), "The work stopped at an error that nobody foresaw (SystemExit)."),
    ],
)
def test_common_surprises_are_told_in_words(error, sentence):
    @handler("break", title="Break", max_attempts=1)
    def break_down(context):
        raise error

    job = enqueue(kind="break", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert job.error == f"{sentence} It was tried once."


def test_a_result_that_is_no_json_is_a_surprise_like_any_other():
    handler("object", title="Return an object", max_attempts=1)(lambda context: {"self": context})
    job = enqueue(kind="object", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.result) == ("failed", None)


def test_a_waiting_job_is_cancelled_at_once_and_never_runs():
    handler("never", title="Never")(lambda context: pytest.fail("it ran"))
    job = enqueue(kind="never", params={})
    request_cancel(job=job)
    assert job.status == "cancelled"
    run_all_jobs()


def test_a_running_job_ends_at_its_next_check_and_no_except_clause_swallows_that():
    reached = []

    @handler("stubborn", title="Stubborn")
    def stubborn(context):
        request_cancel(job=Job.objects.get(pk=context.job_id))
        try:
            context.check()
        except Exception:
            reached.append("swallowed")
        reached.append("went on")

    job = enqueue(kind="stubborn", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.error, reached) == ("cancelled", "", [])


def test_progress_is_a_check_too():
    @handler("progressing", title="Progress")
    def progressing(context):
        request_cancel(job=Job.objects.get(pk=context.job_id))
        with pytest.raises(JobCancelled):
            context.progress(0.1, "a tenth")
        return {"kept": "what was finished in spite of it"}

    job = enqueue(kind="progressing", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert job.status == "done", "work that was finished before anybody stopped it counts"


def test_progress_for_every_row_costs_a_few_writes(django_assert_max_num_queries):
    @handler("rows", title="Rows")
    def rows(context):
        with django_assert_max_num_queries(20):
            for row in range(10_000):
                context.progress(row / 10_000, f"{row} rows")

    job = enqueue(kind="rows", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.message) == ("done", "9999 rows"), "the last word is kept though it came too soon"


def test_a_failed_job_is_retried_under_a_new_attempt_number():
    outcomes = iter([JobFailed("No."), None])

    @handler("second", title="Succeed at the second time", max_attempts=1)
    def second(context):
        if (outcome := next(outcomes)) is not None:
            raise outcome

    job = enqueue(kind="second", params={})
    run_all_jobs()
    job.refresh_from_db()
    assert retry(job=job).status == "queued"
    assert (job.error, job.finished_at) == ("", None)
    run_all_jobs()
    job.refresh_from_db()
    assert (job.status, job.attempt, job.max_attempts) == ("done", 2, 2)


def test_only_failed_and_cancelled_jobs_are_retried():
    handler("fine", title="Fine")(lambda context: None)
    job = enqueue(kind="fine", params={})
    with pytest.raises(JobConflict, match="This job is waiting; only failed or cancelled"):
        retry(job=job)
    run_all_jobs()
    with pytest.raises(JobConflict, match="This job is done"):
        retry(job=job)


def test_a_kind_that_nobody_knows_is_refused_or_fails_with_a_sentence():
    with pytest.raises(JobFailed, match="does not know jobs of the kind “gone”"):
        enqueue(kind="gone", params={})
    job = Job.objects.create(kind="gone")
    run_all_jobs()
    job.refresh_from_db()
    assert "Update the worker, then retry." in job.error


def test_a_stopping_worker_hands_the_job_back(monkeypatch):
    @handler("long", title="Long")
    def long(context):
        monkeypatch.setattr(worker, "is_stopping", lambda: True)
        context.check()

    job = enqueue(kind="long", params={}, max_attempts=1)
    execute(claim())
    job.refresh_from_db()
    assert (job.status, job.attempt, job.max_attempts) == ("queued", 1, 2), "the try did not count"


def test_lines_said_in_a_transaction_that_is_rolled_back_are_kept():
    @handler("rollback", title="Roll back", max_attempts=1)
    def rollback(context):
        with transaction.atomic():
            context.log("before the error", level="warning")
            logging.getLogger("annotate.imports").info("row %s", 3)
            structlog.get_logger("exports.build").info("rows written", rows=7)
            logging.getLogger("somebody.else").info("not of this house")
            raise ValueError

    job = enqueue(kind="rollback", params={})
    run_all_jobs()
    said = list(job.log.exclude(level="debug").values_list("level", "message"))
    assert said[:3] == [("warning", "before the error"), ("info", "row 3"), ("info", "rows written rows=7")]
    assert "not of this house" not in str(said)
