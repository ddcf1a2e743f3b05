"""One turn of the loop over HTTP, as a script of a researcher would drive it."""

import uuid
from typing import Any

from training.demo.client import Client
from training.demo.simulate import judge

# Small enough for a test; the demo uses the defaults.
STARTER = {"seconds": 10}
TRAINING = {"learning_rate": 1e-4, "max_length": 256}


def say(message: str) -> None:
    """The client reports progress to somebody; a test has nobody to tell."""


def make_project(client: Client, overlap: int = 1) -> str:
    body = {"name": f"Loop {uuid.uuid4().hex[:6]}", "kind": "pairwise", "overlap": overlap}
    return client.post("/projects/", body)["slug"]


def rows(count: int) -> list[dict[str, Any]]:
    """Pairs of a finished, polite answer and a curt one that breaks off."""
    animals = ["cat", "dog", "owl", "fox", "hen", "cow", "bee", "ant"]
    return [
        {
            "prompt": f"What does the {animals[n % 8]} number {n} like?",
            "completions": [
                {"text": f"Of course! The {animals[n % 8]} likes a quiet place.", "model": "kind"},
                {"text": f"{animals[n % 8]} eats and", "model": "curt"},
            ],
        }
        for n in range(count)
    ]


def finish(client: Client, run: dict[str, Any]) -> dict[str, Any]:
    """Wait for a run, and return it with its result."""
    client.wait_for_job(run["job"], say)
    return client.get(f"/runs/{run['id']}/")


def build(client: Client, slug: str, name: str, kind: str) -> dict[str, Any]:
    recipe = {"validation": 0.2, "test": 0.0}
    dataset = client.post(f"/projects/{slug}/datasets/", {"name": name, "kind": kind, "recipe": recipe})
    job = client.wait_for_job(client.post(f"/datasets/{dataset['id']}/versions/")["id"], say)
    return client.get(f"/datasets/{dataset['id']}/versions/{job['result']['version']}/")


def whole_turn(client: Client, sampler: str) -> dict[str, Any]:
    """Import, claim, judge, build, fit, align, sample, judge again. Returns what a test wants to look at."""
    slug = make_project(client)
    added = client.post(f"/projects/{slug}/items/", rows(40))
    starter = finish(client, client.post("/runs/", {"task": "starter", "project": slug, "config": STARTER}))
    judged = judge(slug, [client], 40)
    pairs = build(client, slug, "pairs", "pairwise")
    labels = build(client, slug, "labels", "binary")

    def train(method: str, version: dict[str, Any]) -> dict[str, Any]:
        body = {"task": "train", "method": method, "model": starter["output_model"], "config": TRAINING}
        return finish(client, client.post("/runs/", body | {"dataset_version": version["id"]}))

    reward, dpo, kto = train("bradley_terry", pairs), train("dpo", pairs), train("kto", labels)
    config = {"sampler": sampler, "max_tokens": 24}
    body = {"task": "sample", "model": dpo["output_model"], "config": config, "prompts": 8}
    sampled = client.post("/runs/", body)
    job = client.wait_for_job(sampled["job"], say)
    return {
        "slug": slug,
        "added": added,
        "judged": judged,
        "pairs": pairs,
        "reward": reward,
        "dpo": dpo,
        "kto": kto,
        "sampled": job["result"],
        "judged_again": judge(slug, [client], 100),
        "lineage": client.get(f"/models/{dpo['output_model']}/lineage/")["results"],
    }
