"""`/api/v1/jobs/`: alice owns the project, victor looks, bob annotates, charlie is an outsider."""

import pytest

from annotate.access import job_scope
from feedback_site.jobs.models import Job
from feedback_site.jobs.registry import handler
from feedback_site.jobs.services import enqueue
from tests.jobs import run_all_jobs

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project, alice) -> Job:
    handler("work", title="Work")(lambda context: {"rows": 3})
    return enqueue(kind="work", params={"secret": "x"}, created_by=alice, scope=job_scope(project))


def test_a_job_says_what_it_does_and_how_far_it_is(job, alice, api_for):
    api = api_for(alice)
    answer = api.get(f"/api/v1/jobs/{job.pk}/")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["id"], body["kind"], body["title"], body["status"]) == (job.pk, "work", "Work", "queued")
    assert body["progress"] == {"fraction": 0, "message": ""}
    assert (body["error"], body["result"], body["created_by"]) == ("", None, "alice")
    assert "params" not in body
    run_all_jobs()
    body = api.get(f"/api/v1/jobs/{job.pk}/").json()
    assert (body["status"], body["progress"]["fraction"], body["result"]) == ("done", 1, {"rows": 3})
    assert body["finished_at"].endswith("Z")


@pytest.mark.parametrize(
    ("name", "look", "cancel"), [("alice", 200, 200), ("victor", 200, 403), ("bob", 404, 404), ("charlie", 404, 404)]
)
def test_who_may_look_and_who_may_cancel(job, charlie, api_for, request, name, look, cancel):
    api = api_for(request.getfixturevalue(name))
    assert api.get(f"/api/v1/jobs/{job.pk}/").status_code == look
    assert api.get(f"/api/v1/jobs/{job.pk}/log/").status_code == look
    assert len(api.get("/api/v1/jobs/").json()["results"]) == (look == 200)
    for verb in ("retry", "cancel"):
        answer = api.post(f"/api/v1/jobs/{job.pk}/{verb}/")
        assert answer.status_code == (409 if (verb, cancel) == ("retry", 200) else cancel)
    job.refresh_from_db()
    assert job.status == ("cancelled" if cancel == 200 else "queued")


def test_who_asked_for_a_job_may_cancel_it(bob, project, api_for):
    handler("work", title="Work")(lambda context: None)
    job = enqueue(kind="work", params={}, created_by=bob, scope=job_scope(project))
    assert api_for(bob).post(f"/api/v1/jobs/{job.pk}/cancel/").json()["status"] == "cancelled"


def test_a_token_that_only_reads_cancels_nothing(job, alice, api_for):
    answer = api_for(alice, scopes=["read"]).post(f"/api/v1/jobs/{job.pk}/cancel/")
    assert answer.status_code == 403
    assert "lacks the scope" in answer.json()["error"]["message"]


def test_cancelling_twice_is_the_same_as_once_and_a_cancelled_job_can_be_retried(job, alice, api_for):
    api = api_for(alice)
    for _ in range(2):
        assert api.post(f"/api/v1/jobs/{job.pk}/cancel/").json()["status"] == "cancelled"
    assert api.post(f"/api/v1/jobs/{job.pk}/retry/").json()["status"] == "queued"
    run_all_jobs()
    answer = api.post(f"/api/v1/jobs/{job.pk}/retry/")
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "code": "not_over",
        "message": "This job is done; only failed or cancelled jobs are retried.",
    }


def test_jobs_are_listed_newest_first_by_project_and_state(job, alice, project, api_for):
    other = enqueue(kind="work", params={}, created_by=alice)
    api = api_for(alice)
    assert [row["id"] for row in api.get("/api/v1/jobs/").json()["results"]] == [other.pk, job.pk]
    assert [row["id"] for row in api.get(f"/api/v1/jobs/?scope={job.scope}").json()["results"]] == [job.pk]
    assert api.get("/api/v1/jobs/?status=failed").json() == {"results": [], "next": None}
    wrong = api.get("/api/v1/jobs/?status=odd")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["fields"] == {"status": "This is one of: queued, running, done, failed, cancelled."}
    first = api.get("/api/v1/jobs/?limit=1").json()
    assert [row["id"] for row in api.get(first["next"]).json()["results"]] == [job.pk]


def test_tracebacks_are_for_staff(alice, api_for):
    handler("divide", title="Divide", max_attempts=1)(lambda context: {"share": 1 // 0})
    job = enqueue(kind="divide", params={}, created_by=alice)
    run_all_jobs()

    def levels():
        return [line["level"] for line in api_for(alice).get(f"/api/v1/jobs/{job.pk}/log/").json()["results"]]

    assert levels() == ["error"]
    alice.is_staff = True
    alice.save(update_fields=["is_staff"])
    assert levels() == ["error", "debug"]
