"""Real workers that are killed, frozen and stopped. Over PostgreSQL too when DATABASE_URL names a server."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.feedback_site.jobs.conftest import LEASE_SECONDS

OUTCOMES = "SELECT job_id, count(*) FROM probes_outcome GROUP BY job_id"


def test_jobs_end_exactly_once_though_workers_are_killed_at_random_points(site):
    jobs = site.enqueue("count", times=40, steps=4, seconds=0.03)
    moments = random.Random(19)
    alive = {site.worker() for _ in range(3)}
    for _ in range(8):
        victim = moments.choice(site.until(lambda alive=alive: sorted(alive & set(site.running_on()))))
        time.sleep(moments.uniform(0, 0.15))
        os.kill(victim, signal.SIGKILL)
        alive = alive - {victim} | {site.worker()}
    site.until_over()
    assert site.states() == {"done": 40}
    assert sorted(site.sql(OUTCOMES)) == [[job, 1] for job in sorted(jobs)]
    assert site.ask("broken") == []


def test_a_worker_frozen_beyond_its_lease_cannot_finish_what_another_took_over(site):
    (job,) = site.enqueue("deaf", seconds=1.0)
    frozen = site.worker()
    site.until(site.running_on)
    os.kill(frozen, signal.SIGSTOP)
    site.worker()
    site.until_over()
    os.kill(frozen, signal.SIGCONT)
    dropped = f"SELECT count(*) FROM jobs_joblog WHERE job_id = {job} AND attempt = 1 AND message LIKE '%dropped%'"
    site.until(lambda: site.sql(dropped)[0][0])
    assert site.sql("SELECT job_id, attempt FROM probes_outcome") == [[job, 2]]
    assert site.sql("SELECT status, attempt FROM jobs_job") == [["done", 2]]
    assert site.ask("broken") == []


def test_a_job_that_kills_its_worker_fails_after_its_last_try_with_a_sentence(site):
    site.enqueue("poison")
    for attempt in (1, 2, 3):
        site.worker()
        site.until(lambda attempt=attempt: site.sql(f"SELECT 1 FROM jobs_job WHERE attempt = {attempt}"))
        site.until(lambda: site.ask("sweep"))
    (status, error) = site.sql("SELECT status, error FROM jobs_job")[0]
    assert status == "failed"
    assert "stopped answering during attempt 3. It was the last try." in error
    assert site.ask("broken") == []


def test_a_worker_that_is_told_to_stop_hands_its_job_back_without_losing_a_try(site):
    site.enqueue("count", steps=1000, seconds=0.02)
    stopped = site.worker()
    site.until(site.running_on)
    os.kill(stopped, signal.SIGTERM)
    site.until(lambda: site.states() == {"queued": 1}, seconds=10)
    assert site.sql("SELECT attempt, max_attempts FROM jobs_job") == [[1, 4]]
    assert site.ask("broken") == []


def test_a_running_job_is_cancelled_at_its_next_step(site):
    (job,) = site.enqueue("count", steps=1000, seconds=0.02)
    site.worker()
    site.until(site.running_on)
    site.ask("cancel", pk=job)
    site.until_over()
    assert site.states() == {"cancelled": 1}
    assert site.sql(OUTCOMES) == []
    assert site.ask("broken") == []


def test_a_cancelled_job_whose_worker_died_is_cancelled_by_the_sweep(site):
    (job,) = site.enqueue("deaf", seconds=60)
    victim = site.worker()
    site.until(site.running_on)
    site.ask("cancel", pk=job)
    os.kill(victim, signal.SIGKILL)
    site.until(lambda: site.ask("sweep"))
    assert site.states() == {"cancelled": 1}
    assert site.ask("broken") == []


def test_a_lease_is_renewed_for_as_long_as_the_work_takes(site):
    site.enqueue("deaf", seconds=LEASE_SECONDS * 1.5)
    site.worker()
    site.worker()
    site.until_over()
    assert site.sql("SELECT status, attempt FROM jobs_job") == [["done", 1]]


def test_a_worker_does_several_jobs_at_once_when_asked(site):
    site.enqueue("count", times=3, steps=100, seconds=0.02)
    site.worker(concurrency=3)
    site.until(lambda: site.states() == {"running": 3})
    site.until_over()
    assert site.states() == {"done": 3}


def test_jobs_that_use_the_whole_machine_wait_for_each_other_and_nobody_else_for_them(site):
    site.enqueue("greedy", times=2, folder=str(site.folder), seconds=2)
    site.worker(concurrency=3)
    site.until(lambda: site.states() == {"running": 1, "queued": 1})
    site.enqueue("count", times=2)
    site.until(lambda: site.states().get("done") == 2)
    assert site.sql("SELECT kind, status FROM jobs_job WHERE status <> 'done' ORDER BY id") == [
        ["greedy", "running"],
        ["greedy", "queued"],
    ]
    site.until_over()
    assert site.sql("SELECT status, attempt FROM jobs_job") == [["done", 1]] * 4


def test_a_worker_whose_connections_are_cut_goes_on(site):
    if not site.environment["DATABASE_URL"].startswith("postgres"):
        pytest.skip("needs PostgreSQL: set DATABASE_URL to the address of one")
    site.enqueue("count", steps=100, seconds=0.02)
    site.worker()
    site.until(site.running_on)
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    site.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    site.until_over()
    assert site.sql("SELECT status, attempt FROM jobs_job") == [["done", 2]]
    told = [line for (line,) in site.sql("SELECT message FROM jobs_joblog WHERE level = 'warning'")]
    assert told == ["The database refused a step (OperationalError). Trying again in 5 seconds."]
    assert site.ask("broken") == []


def test_the_commands_do_what_is_due_and_end(site):
    site.enqueue("count", times=3)
    once = site.start("manage.py", "runworker", "--once")
    assert once.wait(60) == 0, site.logs()
    assert site.states() == {"done": 3}
    assert site.start("manage.py", "sweep").wait(60) == 0
    assert "0 jobs were taken back." in site.logs()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux: the kernel ends the children")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_worker(site, number):
    site.enqueue("parent", folder=str(site.folder))
    worker = site.worker()
    pids = site.until(lambda: (site.folder / "pids").exists() and (site.folder / "pids").read_text().split())
    os.kill(worker, number)
    site.until(lambda: not any(_lives(int(pid)) for pid in pids), seconds=15)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
