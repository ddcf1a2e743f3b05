"""A registry of the test's own, and `site`: real processes over a real database that only this test uses."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback_site.jobs import registry

HOUSE = Path(__file__).resolve().parent.parent.parent.parent
SETTINGS = "tests.feedback_site.jobs.site_settings"
LEASE_SECONDS = 2


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    """Handlers that a test makes are gone after it."""
    known = dict(registry.HANDLERS)
    monkeypatch.setattr(registry, "HANDLERS", known)
    return known


def site_environment(folder: Path, database: str, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"BROKER_URL", "DATABASE_URL"}}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PLUMB_DATA": str(folder),
        "DATABASE_URL": database,
        "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
        "PYTHONPATH": str(HOUSE),
        **more,
    }


def migrate(folder: Path, database: str) -> None:
    command = [sys.executable, "manage.py", "migrate", "--run-syncdb", "--skip-checks", "-v0"]
    subprocess.run(command, cwd=HOUSE, env=site_environment(folder, database), check=True)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory) -> Iterator[Callable[[Path], str]]:
    """Gives an empty migrated database: a copy of an SQLite file, or one emptied on the server of DATABASE_URL."""
    folder = tmp_path_factory.mktemp("template")
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        migrate(folder, f"sqlite:///{folder / 'plumb.sqlite3'}")

        def copy(to: Path) -> str:
            shutil.copy(folder / "plumb.sqlite3", to / "plumb.sqlite3")
            return f"sqlite:///{to / 'plumb.sqlite3'}"

        yield copy
        return
    import psycopg

    name = f"plumb_jobs_{uuid.uuid4().hex[:12]}"
    database = f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        migrate(folder, database)

        def emptied(to: Path) -> str:
            with psycopg.connect(database) as connection:
                connection.execute("TRUNCATE jobs_job, jobs_joblog, probes_outcome RESTART IDENTITY CASCADE")
            return database

        yield emptied
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Site:
    """Asks a nursery (nursery.py) to do things, and starts programs beside it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.programs: list[subprocess.Popen[bytes]] = []
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.feedback_site.jobs.nursery"],
            cwd=HOUSE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str, **arguments: Any) -> Any:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps([request, arguments]) + "\n")
        self._nursery.stdin.flush()
        answer = self._nursery.stdout.readline()
        assert answer, f"the nursery has ended:\n{(self.folder / 'nursery.log').read_text()[-3000:]}"
        return json.loads(answer)

    def sql(self, query: str) -> list[list[Any]]:
        return self.ask("sql", query=query)

    def worker(self, concurrency: int = 1) -> int:
        return self.ask("worker", log=str(self.folder / "workers.log"), concurrency=concurrency)

    def enqueue(self, kind: str, times: int = 1, **params: Any) -> list[int]:
        return self.ask("enqueue", kind=kind, params=params, times=times)

    def start(self, *program: str) -> subprocess.Popen[bytes]:
        with (self.folder / "programs.log").open("ab") as log:
            command = [sys.executable, *program]
            started = subprocess.Popen(command, cwd=HOUSE, env=self.environment, stdout=log, stderr=log)
        self.programs.append(started)
        return started

    def states(self) -> dict[str, int]:
        return dict(self.sql("SELECT status, count(*) FROM jobs_job GROUP BY status"))

    def running_on(self) -> list[int]:
        """The process ids of the workers that hold a job."""
        rows = self.sql("SELECT worker FROM jobs_job WHERE status = 'running' ORDER BY id")
        return [int(worker.rpartition(":")[2]) for (worker,) in rows]

    def until(self, true: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait for something; what it said in the end."""
        end = time.monotonic() + seconds
        while not (answer := true()):
            assert time.monotonic() < end, f"waited {seconds} s in vain: {self.states()}\n{self.logs()}"
            time.sleep(0.02)
        return answer

    def until_over(self, seconds: float = 60) -> None:
        self.until(lambda: not {"queued", "running"} & set(self.states()), seconds)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        for program in self.programs:
            program.kill()
            program.wait()
        if self._nursery.stdin:
            self._nursery.stdin.close()
        self._nursery.wait(10)


@pytest.fixture
def new_site(tmp_path, new_database) -> Iterator[Callable[..., Site]]:
    """Makes a site; its keywords are environment variables."""
    sites: list[Site] = []

    def make(**more: str) -> Site:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        sites.append(Site(folder, site_environment(folder, new_database(folder), **more)))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(new_site) -> Site:
    return new_site()
