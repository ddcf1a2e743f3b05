"""A whole installation for one test: real web server, real worker, real database, as an operator would start them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from training.demo.client import Client

HOUSE = Path(__file__).resolve().parent.parent.parent
LEASE_SECONDS = "6"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LiveSite:
    """Programs of one installation. Leaving the `with` block ends them all."""

    def __init__(self, folder: Path, *, database: str = "", broker: str = "") -> None:
        self.folder = folder
        self.broker = broker
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "BROKER_URL"}}
        self.environment = kept | {
            "PLUMB_DATA": str(folder / "data"),
            "STATIC_ROOT": str(folder / "static"),
            "SITE_URL": self.address,
            "JOB_LEASE_SECONDS": LEASE_SECONDS,
            # Two tests at once on two cores: with more threads each they would mostly wait for one another.
            "OMP_NUM_THREADS": "1",
            "JOB_QUEUE": f"plumb-{folder.name}-{os.getpid()}",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            **({"DATABASE_URL": database} if database else {}),
            **({"BROKER_URL": broker} if broker else {}),
        }
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "LiveSite":
        self.manage("migrate", "-v0")
        self.manage("collectstatic", "--noinput", "-v0")
        self.start("web")
        for name in self.worker_names():
            self.start(name)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.programs.values():
            process.terminate()
        for process in self.programs.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def worker_names(self) -> list[str]:
        return ["celery", "beat"] if self.broker else ["worker"]

    def command(self, name: str) -> list[str]:
        python = [sys.executable, "-m"]
        celery = [*python, "celery", "-A", "feedback_site"]
        return {
            "web": [*python, "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--threads", "8", "feedback_site.wsgi"],
            "worker": [sys.executable, "manage.py", "runworker"],
            "celery": [*celery, "worker", "--concurrency", "1", "--without-gossip", "--without-mingle"],
            "beat": [*celery, "beat"],
        }[name]

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                self.command(name), cwd=HOUSE, env=self.environment, stdout=log, stderr=log, process_group=0
            )
        if name == "web":
            self.wait_until_up()

    def kill(self, name: str) -> None:
        """SIGKILL to the program and everything in its group, then start it again."""
        process = self.programs[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.start(name)

    def wait_until_up(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/healthz", timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"the web server did not come up:\n{self.logs()}")

    def manage(self, *arguments: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=HOUSE,
            env=self.environment | more,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def client(self, user: str) -> Client:
        """The API client of a new superuser (who may do everything in every project)."""
        self.manage(
            "createsuperuser", "--noinput", "--username", user, "--email", f"{user}@example.org",
            DJANGO_SUPERUSER_PASSWORD="a long enough password",
        )  # fmt: skip
        return Client(self.address, self.manage("create_token", user, "--scopes", "read,annotate,manage"))

    def engine_pids(self) -> list[int]:
        """The engine processes that belong to this site's data folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            ours = any(word.startswith(str(self.folder).encode()) for word in words)
            if ours and b"training.engine" in words and words[1] == b"-m":
                found.append(int(path.parent.name))
        return found

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))
