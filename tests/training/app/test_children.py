"""The engine as a child process that is cancelled, killed, missing or somebody else's Python."""

import json
import os
import shutil
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from feedback_site.jobs.models import Job, JobLog
from feedback_site.jobs.services import request_cancel
from tests.training.app.conftest import do
from training.paths import run_output
from training.progress import read_metrics

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 120


class When(threading.Thread):
    """Do something as soon as the run has trained a few steps; the test joins it."""

    def __init__(self, run, action, steps=2):
        super().__init__(daemon=True)
        self.train_run, self.action, self.steps = run, action, steps
        self.engine = 0
        self.start()

    def run(self):
        deadline = time.monotonic() + PATIENCE
        while len(read_metrics(self.train_run)) < self.steps and time.monotonic() < deadline:
            time.sleep(0.02)
        self.engine = int((run_output(self.train_run) / ".lock").read_text())
        try:
            self.action(self.engine)
        finally:
            connection.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_cancelling_ends_the_child_and_leaves_the_job_cancelled(start_dpo, alice, client_for):
    run = start_dpo(epochs=1000)
    when = When(run, lambda pid: request_cancel(job=Job.objects.get(pk=run.job_id)))
    run = do(run)
    when.join()
    assert run.job.status == "cancelled", run.job.error
    assert not is_alive(when.engine)
    assert run.collected_at is None
    assert not hasattr(run, "output_model")
    assert (run_output(run) / "checkpoint").is_dir()
    found = json.loads((run_output(run) / "checks.json").read_text())
    assert "train.boundary" in {check["name"] for check in found}
    assert "Cancelled" in client_for(alice).get(f"/runs/{run.pk}/").content.decode()


def test_the_log_has_one_line_for_each_stage_and_none_for_each_batch(start_dpo):
    run = do(start_dpo(token_budget=64))
    log = list(JobLog.objects.filter(job=run.job, message__contains="eference").values_list("message", flat=True))
    assert len(log) == 1
    lines = (run_output(run) / "progress.jsonl").read_text().splitlines()
    assert sum("Reference" in line for line in lines) > 2


def test_an_engine_that_was_killed_once_goes_on_and_is_done(start_dpo):
    run = start_dpo(epochs=12)
    when = When(run, lambda pid: os.kill(pid, signal.SIGKILL))
    run = do(run)
    when.join()
    assert (run.job.status, run.job.attempt) == ("done", 2), run.job.error
    assert [point["step"] for point in read_metrics(run)] == list(range(1, run.result["steps"] + 1))
    assert JobLog.objects.filter(job=run.job, message__contains="killed by SIGKILL").exists()
    assert run.output_model.weights_sha256


def test_an_engine_that_is_killed_every_time_fails_with_a_sentence(start_dpo, settings, tmp_path):
    settings.ENGINE_PYTHON = script(tmp_path / "python", "kill -9 $$")
    run = do(start_dpo())
    assert (run.job.status, run.job.attempt) == ("failed", 3)
    assert run.job.error.startswith("The engine was killed by SIGKILL, and this was the last attempt.")


def test_a_python_that_is_not_there_is_named(start_dpo, settings):
    settings.ENGINE_PYTHON = "/nowhere/python"
    run = do(start_dpo())
    assert (run.job.status, run.job.attempt) == ("failed", 1)
    assert "/nowhere/python" in run.job.error
    assert "PLUMB_ENGINE_PYTHON" in run.job.error


def test_the_named_python_runs_the_engine_and_knows_no_secrets(start_dpo, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/plumb.sqlite3")
    monkeypatch.setenv("SECRET_KEY", "not for children")
    monkeypatch.setenv("BROKER_URL", "redis://nowhere")
    seen = tmp_path / "seen"
    settings.ENGINE_PYTHON = script(tmp_path / "python", f'env > "{seen}"; exec "{sys.executable}" "$@" --dry-run')
    run = do(start_dpo())
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert not names & {"DATABASE_URL", "SECRET_KEY", "BROKER_URL"}
    assert {"TOKENIZERS_PARALLELISM", "VLLM_CACHE_ROOT"} <= names
    # A dry run writes nothing, and nothing is not taken for a result.
    assert run.job.status == "failed"
    assert "has not finished" in run.job.error


def test_a_model_whose_folder_is_gone_is_named_from_the_data_folder(start_dpo, tiny, data_dir):
    run = start_dpo()
    shutil.rmtree(data_dir / tiny.folder)
    run = do(run)
    assert (run.job.status, run.job.attempt) == ("failed", 1)
    assert run.job.error == f"The model folder {tiny.folder} does not exist. Put it back, or name another."
