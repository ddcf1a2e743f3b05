"""Child processes: they end with their job, keep their output in a file, and know no secrets."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from feedback_site.jobs import guard
from feedback_site.jobs.children import child, environment, run_child
from feedback_site.jobs.context import JobContext
from feedback_site.jobs.errors import JobCancelled

WAIT = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + WAIT
TIDY = (
    "import signal, sys\n"
    "def tidy(*_):\n    open('tidied', 'w').write('yes')\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, tidy)\n" + WAIT
)


class Context(JobContext):
    """What run_child needs of a job: a check that is asked to cancel after some rounds."""

    def __init__(self, rounds: int = 10**6) -> None:
        self.rounds = rounds

    def check(self) -> None:
        self.rounds -= 1
        if self.rounds < 0:
            raise JobCancelled

    def progress(self, fraction: float, message: str = "") -> None:
        self.check()


def run(script: str, folder: Path, **options: Any):
    context = options.pop("context", Context())
    log = options.pop("log", folder / "log")
    return run_child(context, [sys.executable, "-c", script], cwd=folder, log=log, **options)


def until_ready(log: Path) -> None:
    end = time.monotonic() + 30
    while not log.exists() or "ready" not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_child_s_status_and_output_are_kept(tmp_path):
    assert run("import sys; print('said'); print('complained', file=sys.stderr); sys.exit(3)", tmp_path) == 3
    assert sorted((tmp_path / "log").read_text().split()) == ["complained", "said"]


def test_output_beyond_any_pipe_does_not_stop_a_child(tmp_path):
    assert run("print('x' * 1_000_000)", tmp_path) == 0
    assert (tmp_path / "log").stat().st_size == 1_000_001


def test_a_child_that_was_killed_says_by_what(tmp_path):
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path) == 128 + signal.SIGKILL


def test_a_program_that_does_not_exist_is_told_in_the_log(tmp_path):
    status = run_child(Context(), ["/nowhere/python"], cwd=tmp_path, log=tmp_path / "log")
    assert status == guard.CANNOT_START
    assert (tmp_path / "log").read_text() == "/nowhere/python cannot be started: No such file or directory.\n"


def test_a_cancelled_job_lets_its_child_tidy_up(tmp_path):
    def cancel_when_ready():
        until_ready(tmp_path / "log")
        raise JobCancelled

    with pytest.raises(JobCancelled):
        run(TIDY, tmp_path, watch=cancel_when_ready, grace=30)
    assert (tmp_path / "tidied").read_text() == "yes"


def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path):
    with child([sys.executable, "-c", STUBBORN], cwd=tmp_path, log=tmp_path / "log", grace=0.2) as process:
        until_ready(tmp_path / "log")
    assert process.returncode == 128 + signal.SIGKILL


def test_a_guardian_that_is_killed_takes_its_program_with_it(tmp_path):
    if guard.LIBC is None:
        pytest.skip("needs Linux: the kernel ends the program")
    script = "import os; print(os.getpid(), flush=True);" + WAIT
    with child([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "log") as process:
        until_ready(tmp_path / "log")
        pid = int((tmp_path / "log").read_text().split()[0])
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}/stat").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_two_programs_never_work_under_one_lock(tmp_path):
    lock = tmp_path / "lock"
    with child([sys.executable, "-c", WAIT], cwd=tmp_path, log=tmp_path / "log", lock=lock):
        until_ready(tmp_path / "log")
        with pytest.raises(JobCancelled):
            run("open('second', 'w')", tmp_path, lock=lock, context=Context(rounds=2), log=tmp_path / "log2")
    assert not (tmp_path / "second").exists()
    assert run("open('second', 'w')", tmp_path, lock=lock) == 0
    assert (tmp_path / "second").exists()


def test_secrets_stay_behind(monkeypatch):
    secrets = {"DATABASE_URL", "SECRET_KEY_FILE", "BROKER_URL", "HF_TOKEN", "PGPASSWORD", "OPENAI_API_KEY"}
    for name in secrets:
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = environment({"RUN": "7"})
    assert not secrets & set(env)
    assert (env["TOKENIZERS_PARALLELISM"], env["OMP_NUM_THREADS"], env["RUN"]) == ("false", "1", "7")
