"""The jobs page and the page of one job."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.access import job_scope
from feedback_site.jobs.context import JobFailed
from feedback_site.jobs.models import Job
from feedback_site.jobs.registry import handler
from feedback_site.jobs.runner import claim
from feedback_site.jobs.services import enqueue
from tests.jobs import run_all_jobs
from tests.makers import make_project

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def job(project, alice) -> Job:
    handler("work", title="Work")(lambda context: {"rows": 3})
    return enqueue(kind="work", params={}, title="Import <answers>", created_by=alice, scope=job_scope(project))


def test_the_page_says_so_when_there_are_no_jobs(alice, client_for):
    assert "No jobs yet" in client_for(alice).get("/jobs/").content.decode()


def test_jobs_are_shown_with_their_project_and_can_be_filtered_by_it(job, alice, project, client_for):
    other = make_project("other", owner=alice)
    enqueue(kind="work", params={}, title="Elsewhere", scope=job_scope(other))
    client = client_for(alice)
    page = client.get("/jobs/").content.decode()
    assert "Import &lt;answers&gt;" in page
    assert "Elsewhere" in page
    page = client.get("/jobs/", {"scope": job_scope(project)}).content.decode()
    assert "Import &lt;answers&gt;" in page
    assert "Elsewhere" not in page
    assert "No such jobs" in client.get("/jobs/", {"status": "failed"}).content.decode()


def test_an_outsider_sees_neither_the_list_s_rows_nor_the_job(job, charlie, client_for):
    client = client_for(charlie)
    assert "No jobs yet" in client.get("/jobs/").content.decode()
    for path in ("", "progress/", "log/"):
        assert client.get(f"/jobs/{job.pk}/{path}").status_code == 404
    assert client.post(f"/jobs/{job.pk}/cancel/").status_code == 404


def test_a_viewer_looks_and_is_offered_nothing_more(job, victor, client_for):
    client = client_for(victor)
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "Import &lt;answers&gt;" in page
    assert "/cancel/" not in page
    assert client.post(f"/jobs/{job.pk}/cancel/").status_code == 403


def test_the_list_is_asked_for_again_until_nothing_in_it_can_change(job, alice, client_for):
    client = client_for(alice)
    answer = client.get("/jobs/", headers=HTMX)
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert b"every 3s" in answer.content
    run_all_jobs()
    answer = client.get("/jobs/", headers=HTMX)
    assert answer.status_code == 286
    assert b"every 3s" not in answer.content


def test_progress_is_asked_for_until_the_job_is_over_and_then_the_page_is_told(job, alice, client_for):
    client = client_for(alice)
    claim()
    Job.objects.update(fraction=0.37, message="370 of 1,000 rows")
    answer = client.get(f"/jobs/{job.pk}/progress/", headers=HTMX)
    assert answer.status_code == 200
    assert 'value="37"' in answer.content.decode()
    assert "370 of 1,000 rows" in answer.content.decode()
    assert client.get(f"/jobs/{job.pk}/log/", headers=HTMX).status_code == 200
    client.post(f"/jobs/{job.pk}/cancel/", headers=HTMX)
    page = client.get(f"/jobs/{job.pk}/progress/", headers=HTMX).content.decode()
    assert "Stopping at its next step." in page
    Job.objects.update(status="cancelled", finished_at=job.created_at, lease_until=None)
    answer = client.get(f"/jobs/{job.pk}/progress/", headers=HTMX)
    assert answer.status_code == 286
    assert "job-over" in answer.headers["HX-Trigger"]
    assert b"hx-get" not in answer.content
    assert client.get(f"/jobs/{job.pk}/log/", headers=HTMX).status_code == 286


def test_why_a_job_failed_is_on_its_page_and_it_can_be_tried_again(alice, client_for):
    outcomes = iter([JobFailed("Row 86: the last reply is <empty>."), None])

    @handler("twice", title="Twice")
    def twice(context):
        context.log("reading the file")
        if (outcome := next(outcomes)) is not None:
            raise outcome

    job = enqueue(kind="twice", params={}, created_by=alice)
    run_all_jobs()
    client = client_for(alice)
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "Row 86: the last reply is &lt;empty&gt;." in page
    assert "reading the file" in page
    assert "Row 86" in client.get("/jobs/").content.decode()
    page = client.post(f"/jobs/{job.pk}/retry/", follow=True).content.decode()
    assert "The job is in the queue again." in page
    run_all_jobs()
    job.refresh_from_db()
    assert job.status == "done"
    page = client.post(f"/jobs/{job.pk}/retry/", follow=True).content.decode()
    assert "only failed or cancelled jobs are retried" in page


@pytest.mark.parametrize(
    ("status", "says"),
    [("queued", "The job was cancelled."), ("running", "The job ends at its next step."), ("done", "was over already")],
)
def test_without_scripts_cancel_is_a_form_that_says_what_happens(job, alice, client_for, status, says):
    if status == "running":
        claim()
    elif status == "done":
        run_all_jobs()
    page = client_for(alice).post(f"/jobs/{job.pk}/cancel/", follow=True).content.decode()
    assert says in page


def test_a_waiting_job_says_what_it_waits_for(job, alice, client_for):
    client = client_for(alice)
    second = enqueue(kind="work", params={}, created_by=alice)
    assert "1 job is before it." in client.get(f"/jobs/{second.pk}/").content.decode()
    assert "as soon as a worker is free" in client.get(f"/jobs/{job.pk}/").content.decode()
    Job.objects.update(created_at=job.created_at.replace(year=2020))
    assert "No worker has come for it yet." in client.get(f"/jobs/{job.pk}/").content.decode()


def test_a_job_that_waits_for_another_to_leave_the_machine_says_so(alice, client_for):
    handler("greedy", title="Greedy", whole_machine=True)(lambda context: None)
    enqueue(kind="greedy", params={}, created_by=alice)
    claim()
    waiting = enqueue(kind="greedy", params={}, created_by=alice)
    assert "It starts when the run before it is over." in client_for(alice).get(f"/jobs/{waiting.pk}/").content.decode()


def test_the_list_costs_the_same_for_many_jobs(job, alice, client_for, django_assert_num_queries):
    client = client_for(alice)
    client.get("/jobs/")
    with CaptureQueriesContext(connection) as few:
        client.get("/jobs/")
    for _ in range(30):
        enqueue(kind="work", params={}, created_by=alice, scope=job.scope)
    with django_assert_num_queries(len(few)):
        client.get("/jobs/")


def test_a_job_does_not_count_runs_that_it_will_overtake(job, alice, client_for):
    handler("greedy", title="Greedy", whole_machine=True)(lambda context: None)
    client = client_for(alice)
    Job.objects.update(kind="greedy")
    claim()
    enqueue(kind="greedy", params={}, created_by=alice)
    small = enqueue(kind="work", params={}, created_by=alice)
    assert "It starts as soon as a worker is free." in client.get(f"/jobs/{small.pk}/").content.decode()
    later = enqueue(kind="greedy", params={}, created_by=alice)
    assert "2 jobs are before it." in client.get(f"/jobs/{later.pk}/").content.decode()


def test_a_job_does_not_count_what_is_tried_again_later(job, alice, client_for):
    Job.objects.update(not_before=timezone.now() + timedelta(minutes=5))
    second = enqueue(kind="work", params={}, created_by=alice)
    assert "It starts as soon as a worker is free." in client_for(alice).get(f"/jobs/{second.pk}/").content.decode()
