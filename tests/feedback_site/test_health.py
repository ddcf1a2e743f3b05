from datetime import timedelta

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from feedback_site import health
from feedback_site.jobs.models import Job


def test_alive_needs_no_database():
    """pytest-django forbids the database to tests that do not ask for it."""
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"alive\n")


def test_ready_names_each_part_and_leaves_nothing_behind(db, data_dir):
    answer = Client().get("/readyz")
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["ready"] is True
    assert set(body["parts"]) == {"database", "data_folder", "migrations", "jobs"}
    assert not Job.objects.exists()
    assert list(data_dir.iterdir()) == []


def test_without_its_data_folder_the_site_is_not_ready(db, data_dir):
    data_dir.rmdir()
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["data_folder"] == {"ok": False, "problem": "FileNotFoundError"}


def test_with_a_database_that_does_not_answer_the_site_is_not_ready_and_says_no_address(monkeypatch):
    def refuse():
        raise OperationalError("connection to 10.0.0.7 as plumb failed")

    monkeypatch.setattr(health, "database", refuse)
    monkeypatch.setattr(health, "migrations", refuse)
    monkeypatch.setattr(health, "jobs", refuse)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["database"] == {"ok": False, "problem": "OperationalError"}
    assert "10.0.0.7" not in answer.content.decode()


def test_a_missing_migration_is_named(db, monkeypatch):
    monkeypatch.setattr(
        health.MigrationExecutor, "migration_plan", lambda self, targets: [("accounts.0009_something", False)]
    )
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["migrations"]["missing"] == ["accounts.0009_something"]


@pytest.mark.parametrize(
    ("heartbeat", "ok"), [(None, False), (timedelta(hours=1), False), (timedelta(seconds=5), True)]
)
def test_jobs_that_nobody_takes_are_reported_but_do_not_close_the_site(db, heartbeat, ok):
    now = timezone.now()
    waiting = Job.objects.create(kind="import_items")
    Job.objects.filter(pk=waiting.pk).update(created_at=now - timedelta(minutes=20))
    if heartbeat:
        Job.objects.create(kind="x", status="done", heartbeat=now - heartbeat, finished_at=now)
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["parts"]["jobs"]["ok"] is ok
    assert answer.json()["parts"]["jobs"]["oldest_waiting_seconds"] >= 1200


def test_a_job_that_is_to_start_later_does_not_wait(db):
    Job.objects.create(kind="import_items", not_before=timezone.now() + timedelta(hours=1))
    assert Client().get("/readyz").json()["parts"]["jobs"]["oldest_waiting_seconds"] == 0
