"""Many annotators judge at once through a real server: is anything lost, doubled or given to too many?

    python benchmarks/judging_load.py --annotators 20                                       (SQLite in a fresh folder)
    python benchmarks/judging_load.py --annotators 100 --database postgresql://…/an_empty_database

Starts gunicorn, lets every annotator claim and judge until nothing is left, some of them clicking twice, compares what
they sent with what is stored, and runs the invariants of `manage.py verify`. Exits with 1 if anything is amiss.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
DOUBLE_CLICKS = 0.05
RETRIES = 5


class Annotator:
    """One person at a browser: sends an answer until it is acknowledged, and now and then clicks twice."""

    def __init__(self, client: httpx.AsyncClient, token: str, seed: int) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}
        self.random = random.Random(seed)
        self.acknowledged: list[str] = []
        self.seconds: dict[str, list[float]] = {"claim": [], "submit": []}
        self.trouble: Counter[str] = Counter()

    async def work(self) -> None:
        answer = await self.post("claim", "/api/v1/projects/load/slots/claim/")
        lease = answer.json() if answer.status_code == 200 else None
        while lease:
            lease = await self.judge(lease)

    async def judge(self, lease: dict[str, Any]) -> dict[str, Any] | None:
        ids = [completion["id"] for completion in lease["item"]["completions"]]
        self.random.shuffle(ids)
        body = {
            "submission_id": str(uuid.UUID(int=self.random.getrandbits(128), version=4)),
            "lease_token": lease["lease_token"],
            "verdict": {"ranking": [[uid] for uid in ids], "strength": self.random.randint(1, 3)},
            "seconds": round(self.random.uniform(3, 60), 1),
        }
        clicks = 2 if self.random.random() < DOUBLE_CLICKS else 1
        path = f"/api/v1/slots/{lease['id']}/judgement/?next=1"
        answers = await asyncio.gather(*[self.post("submit", path, body) for _ in range(clicks)])
        if any(answer.status_code not in (200, 201) for answer in answers):
            self.trouble.update(answer.text[:200] for answer in answers if answer.status_code not in (200, 201))
            return None
        self.acknowledged.append(body["submission_id"])
        following: dict[str, Any] | None = answers[-1].json()["next"]
        return following

    async def post(self, what: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        for _ in range(RETRIES):
            start = time.perf_counter()
            try:
                answer = await self.client.post(path, json=body, headers=self.headers)
            except httpx.TransportError as error:
                self.trouble[f"retried after {type(error).__name__}"] += 1
                continue
            if answer.status_code < 500:
                self.seconds[what].append(time.perf_counter() - start)
                return answer
            self.trouble[f"retried after {answer.status_code}"] += 1
        raise SystemExit(f"{path} did not answer {RETRIES} times.")


def seed(annotators: int, items: int, overlap: int) -> list[str]:
    """A project, its items, and a token for each annotator."""
    from django.db import transaction

    from annotate.models import Membership
    from feedback_site.accounts.models import User
    from feedback_site.accounts.tokens import create_token
    from tests.makers import make_item, make_project

    tokens = []
    with transaction.atomic():
        project = make_project("load", overlap=overlap)
        for _ in range(items):
            make_item(project)
        for n in range(annotators):
            user = User.objects.create(username=f"annotator{n}")
            Membership.objects.create(project=project, user=user, role=Membership.Role.ANNOTATOR)
            tokens.append(create_token(user=user, name="load", scopes=["annotate"])[1])
    return tokens


def serve(workers: int, threads: int, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "gunicorn", "feedback_site.wsgi:application", "--bind", f"127.0.0.1:{port}",
        "--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads), "--timeout", "120",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(f"{address}/healthz")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return server, address
    server.kill()
    raise SystemExit(f"The server did not start; see {log}.")


async def judge_all(address: str, tokens: list[str]) -> list[Annotator]:
    limits = httpx.Limits(max_connections=len(tokens) * 2, max_keepalive_connections=len(tokens) * 2)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        people = [Annotator(client, token, n) for n, token in enumerate(tokens)]
        await asyncio.gather(*[person.work() for person in people])
    return people


def stored() -> dict[str, Any]:
    """What the database holds afterwards."""
    from django.db.models import Count, F

    from annotate.models import Item, Judgement, Slot
    from tests.annotate.slots.helpers import broken

    judged = Item.objects.annotate(n=Count("judgements__annotator"))
    return {
        "submissions": {str(one) for one in Judgement.objects.values_list("submission_id", flat=True)},
        "rows": Judgement.objects.count(),
        "over_quota": Judgement.objects.filter(over_quota=True).count(),
        "over_overlap": judged.filter(n__gt=F("overlap")).count(),
        "slots_not_done": Slot.objects.exclude(state=Slot.State.DONE).count(),
        "broken": broken(),
    }


def report(people: list[Annotator], wanted: int, wall: float) -> dict[str, Any]:
    sent = [submission for person in people for submission in person.acknowledged]
    kept = stored()
    figures: dict[str, Any] = {
        "annotators": len(people),
        "wanted": wanted,
        "acknowledged": len(sent),
        "stored": kept["rows"],
        "lost": len(set(sent) - kept["submissions"]),
        "doubled": kept["rows"] - len(kept["submissions"] & set(sent)),
        "over_quota": kept["over_quota"],
        "items_over_overlap": kept["over_overlap"],
        "slots_not_done": kept["slots_not_done"],
        "verify": kept["broken"],
        "trouble": dict(sum((person.trouble for person in people), Counter())),
        "wall_seconds": round(wall, 1),
        "judgements_per_second": round(len(sent) / wall, 1),
    }
    for what in ("claim", "submit"):
        times = sorted(second * 1000 for person in people for second in person.seconds[what])
        cuts = statistics.quantiles(times, n=100)
        figures[f"{what}_ms"] = {"p50": round(cuts[49]), "p95": round(cuts[94]), "max": round(times[-1])}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--judgements", type=int, default=5000)
    parser.add_argument("--overlap", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database; SQLite otherwise.")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # so that the server is stopped as well
    folder = Path(tempfile.mkdtemp(prefix="judging-load-"))
    os.environ |= {"PLUMB_DATA": str(folder), "SECRET_KEY": secrets.token_urlsafe(50), "LOG_LEVEL": "WARNING"}
    os.environ |= {"DATABASE_URL": given.database, "DJANGO_SETTINGS_MODULE": "feedback_site.settings"}
    sys.path.insert(0, str(ROOT))
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    items = -(-given.judgements // given.overlap)
    tokens = seed(given.annotators, items, given.overlap)
    server, address = serve(given.workers, given.threads, folder / "server.log")
    try:
        start = time.perf_counter()
        people = asyncio.run(judge_all(address, tokens))
        wall = time.perf_counter() - start
    finally:
        server.terminate()
        server.wait(30)
    figures = report(people, items * given.overlap, wall)
    print(json.dumps(figures, indent=2))
    amiss = ("lost", "doubled", "over_quota", "items_over_overlap", "slots_not_done", "verify")
    sys.exit(any(figures[name] for name in amiss) or figures["stored"] != figures["wanted"])


if __name__ == "__main__":
    main()
