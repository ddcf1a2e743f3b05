"""An import as a job: batches, progress, cancelling, stopping and going on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from django.db import connection

from annotate.imports import run
from annotate.models import Item, ItemImport, Judgement, Prompt
from annotate.services.imports import keep_file, start_import
from feedback_site.jobs.context import JobContext
from feedback_site.jobs.models import Job
from feedback_site.jobs.services import request_cancel, retry
from feedback_site.jobs.sweeping import sweep
from tests.jobs import run_all_jobs

from .helpers import PAIR, Worker, broken, import_bytes, lines, pairs, problems


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(run, "BATCH_ROWS", 10)


def queue(project, rows, *, dry_run=False) -> ItemImport:
    content = rows if isinstance(rows, bytes) else lines(rows)
    kept = keep_file(project=project, file_name="rows.jsonl", chunks=[content], dry_run=dry_run)
    return start_import(item_import=kept)


def result(item_import):
    item_import.refresh_from_db()
    return run.counts(item_import)


@pytest.mark.django_db(transaction=True)
def test_a_job_imports_a_file_and_says_what_came_of_it(project, small_batches):
    found = queue(project, [*pairs(25), {"x": 1}, *pairs(5), PAIR])
    [job] = run_all_jobs()
    assert (job.status, job.fraction, job.error) == ("done", 1, "")
    assert job.result == result(found)
    assert job.result == {
        "import": found.pk,
        "dry_run": False,
        "rows": 32,
        "created": 26,
        "judgements": 26,
        "duplicates": 5,
        "problems": 1,
    }
    assert "rows a second" in job.message
    assert broken() == []


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_read_fails_the_job_with_a_sentence_and_no_second_try(project):
    queue(project, b"\x1f\x8b\x08 this is no gzip")
    [job] = run_all_jobs()
    assert (job.status, job.attempt) == ("failed", 1)
    assert job.error.startswith("The gzip file is damaged")


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_breaks_off_is_continued_behind_its_last_batch(project, small_batches, monkeypatch):
    rows = [*pairs(15), {"x": 1}, *pairs(15, start=15)]
    found = queue(project, rows)
    commit, calls = run._commit, []

    def breaks_in_the_third_batch(*arguments):
        commit(*arguments)
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError

    monkeypatch.setattr(run, "_commit", breaks_in_the_third_batch)
    [job] = run_all_jobs()
    assert (job.status, job.attempt) == ("done", 2)
    assert Item.objects.count() == Judgement.objects.count() == 30
    assert result(found) | {"import": 0, "dry_run": 0} == {
        "import": 0,
        "dry_run": 0,
        "rows": 31,
        "created": 30,
        "judgements": 30,
        "duplicates": 0,
        "problems": 1,
    }
    assert [row for row, _, _ in problems(found)] == [15]


@pytest.mark.django_db(transaction=True)
def test_cancelling_keeps_what_landed_and_retrying_adds_the_rest(project, small_batches, monkeypatch):
    found = queue(project, pairs(45))
    progress = JobContext.progress

    def asked_to_stop_after_two_batches(context, fraction, message=""):
        if ItemImport.objects.get().rows == 20:
            request_cancel(job=Job.objects.get())
            context.check()
        progress(context, fraction, message)

    monkeypatch.setattr(JobContext, "progress", asked_to_stop_after_two_batches)
    [job] = run_all_jobs()
    assert job.status == "cancelled"
    assert result(found)["rows"] == Item.objects.count() == 20
    monkeypatch.setattr(JobContext, "progress", progress)
    retry(job=job)
    run_all_jobs()
    assert result(found)["rows"] == result(found)["created"] == Item.objects.count() == 45


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_lost_its_job_writes_nothing_more(project, small_batches, monkeypatch):
    queue(project, pairs(35))
    commit = run._commit

    def taken_over_meanwhile(item_import, batch, ledger):
        commit(item_import, batch, ledger)
        if item_import.rows == 20:
            Job.objects.update(attempt=9)

    monkeypatch.setattr(run, "_commit", taken_over_meanwhile)
    run_all_jobs()
    assert Item.objects.count() == ItemImport.objects.get().rows == 20


@pytest.mark.django_db
def test_a_dry_run_of_many_batches_reports_what_the_import_then_does(project, small_batches):
    other = PAIR | {"chosen": PAIR["rejected"], "rejected": PAIR["chosen"], "annotator": "kim"}
    rows = [*pairs(15), PAIR | {"annotator": "kim"}, *pairs(20), other, {"prompt": "Q"}, {}, {"prompt": "Q"}]
    tried = import_bytes(project, lines(rows), dry_run=True)
    assert not Item.objects.exists()
    assert not Prompt.objects.exists()
    real = import_bytes(project, lines(rows))
    assert problems(tried) == problems(real)
    assert run.counts(tried) | {"import": 0, "dry_run": 0} == run.counts(real) | {"import": 0, "dry_run": 0}
    assert (real.rows, real.created_items, real.duplicates, real.problem_count) == (40, 22, 16, 2)


@pytest.mark.django_db
def test_progress_goes_by_the_bytes_that_were_read(project, small_batches):
    worker = Worker()
    import_bytes(project, lines([PAIR | {"note": "x" * 5000, "annotator": f"w{n}"} for n in range(100)]), worker=worker)
    fractions = [fraction for fraction, _ in worker.said]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.5
    assert fractions[-1] == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_the_middle_loses_no_row_and_doubles_none(project, data_dir, tmp_path):
    count = 6000
    found = queue(project, [{"prompt": f"Question {n}?"} for n in range(count)])
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}" if connection.vendor == "sqlite" else os.environ["DATABASE_URL"]
    if connection.vendor != "sqlite":
        url = url.rpartition("/")[0] + f"/{database['NAME']}"
    environment = os.environ | {"DATABASE_URL": url, "PLUMB_DATA": str(data_dir), "BROKER_URL": ""}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "runworker", "--once"], env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 120
            while ItemImport.objects.get().rows < 1000 and worker.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    landed = ItemImport.objects.get().rows
    assert 1000 <= landed < count, (tmp_path / "worker.log").read_text()
    assert Prompt.objects.count() == landed
    Job.objects.update(lease_until="2000-01-01T00:00Z")
    sweep()
    run_all_jobs()
    assert Prompt.objects.count() == count
    assert result(found) | {"import": 0} == {
        "import": 0,
        "dry_run": False,
        "rows": count,
        "created": count,
        "judgements": 0,
        "duplicates": 0,
        "problems": 0,
    }
    assert json.dumps(Job.objects.get().result)
