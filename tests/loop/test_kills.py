"""Programs die at random moments; every job ends exactly once, and the data stays true."""

import os
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.loop.rounds import STARTER, build, make_project, rows, say
from training.demo.client import Client
from training.demo.simulate import judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 5


def test_worker_web_server_and_engine_are_killed_and_every_run_ends_once(embedded_site):
    site = embedded_site
    client = site.client("lead")
    slug = make_project(client)
    client.post(f"/projects/{slug}/items/", rows(24))
    judge(slug, [client], 24)
    starter = client.post("/runs/", {"task": "starter", "project": slug, "config": STARTER})
    client.wait_for_job(starter["job"], say)
    policy = client.get(f"/runs/{starter['id']}/")["output_model"]
    version = build(client, slug, "pairs", "pairwise")
    body = {
        "task": "train",
        "method": "dpo",
        "model": policy,
        "dataset_version": version["id"],
        "config": {"epochs": 10, "batch_size": 2, "checkpoint_seconds": 0},
    }
    runs = [client.post("/runs/", body) for _ in range(2)]
    chance = random.Random(7)
    killed = 0
    deadline = time.monotonic() + 300
    while any(not over(client, run["job"]) for run in runs):
        assert time.monotonic() < deadline, site.logs()
        time.sleep(chance.uniform(0.5, 4))
        if killed < KILLS:
            kill_one(site, chance.choice(["worker", "engine", "web"]))
            killed += 1
    ended = [client.get(f"/runs/{run['id']}/") for run in runs]
    assert [run["status"] for run in ended] == ["done", "done"], [client.get(f"/jobs/{run['job']}/") for run in runs]
    # The same spec, killed at different moments: the same weights.
    sums = {client.get(f"/models/{run['output_model']}/")["weights_sha256"] for run in ended}
    assert len(sums) == 1
    assert len({run["output_model"] for run in ended}) == 2
    assert killed > 0
    assert site.manage("verify") == ""


def kill_one(site, name: str) -> None:
    if name != "engine":
        site.kill(name)
        return
    for pid in site.engine_pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def over(client: Client, job: int) -> bool:
    return client.get(f"/jobs/{job}/")["status"] in {"done", "failed", "cancelled"}
