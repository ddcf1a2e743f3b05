"""Runs of the tiny models: a spec and its data on disk, the command line in this process, and what a run left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from training.engine.cli import main
from training.engine.losses import LOSSES
from training.engine.progress import read_progress

POLITE = ("Thank you!", "You are welcome.", "Have a good day.", "I am glad to help.")
RUDE = ("Go away.", "Who cares?", "Stop asking.", "No idea, leave me.")


def pairs(begin: int, end: int) -> list[dict[str, Any]]:
    """Pairs with a rule that can be learnt: the chosen answer ends politely."""
    return [
        {
            "prompt": [{"role": "user", "content": f"What is the capital of country {index}?"}],
            "chosen": f"It is city {index}. {POLITE[index % 4]}",
            "rejected": f"It is city {index}. {RUDE[index % 3]}",
            "p": 0.8 if index % 5 == 0 else 1.0,
            "margin": 0.5 if index % 2 else None,
            "weight": 2.0 if index % 7 == 0 else 1.0,
        }
        for index in range(begin, end)
    ]


def labelled(begin: int, end: int) -> list[dict[str, Any]]:
    """The same answers one by one, with thumbs up and down."""
    return [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen", "weight": row["weight"]}
        for row in pairs(begin, end)
        for side in ("chosen", "rejected")
    ]


def demonstrations(begin: int, end: int) -> list[dict[str, Any]]:
    """The polite answers."""
    return [
        {"prompt": row["prompt"], "completion": row["chosen"], "weight": row["weight"]} for row in pairs(begin, end)
    ]


def lists(begin: int, end: int) -> list[dict[str, Any]]:
    """Three answers each, best first: polite, curt, rude."""
    return [
        {
            "prompt": row["prompt"],
            "completions": [row["chosen"], f"It is city {index}.", row["rejected"]],
            "ranks": [0, 1, 2] if index % 4 else [0, 1, 1],
            "weight": row["weight"],
        }
        for index, row in enumerate(pairs(begin, end))
    ]


ROWS: dict[str, Callable[[int, int], list[dict[str, Any]]]] = {
    "demonstration": demonstrations,
    "pairwise": pairs,
    "binary": labelled,
    "listwise": lists,
}


def write_spec(folder: Path, method: str, model: Path, **config: Any) -> Path:
    """A spec with 24 rows (or pairs of rows) to train on and 12 to evaluate on; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {}
    for split, begin, end in (("train", 0, 24), ("validation", 24, 36)):
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[LOSSES[method].dataset_kind](begin, end)))
        data[split] = str(path)
    spec = {"task": "train", "method": method, "model": str(model), "data": data, "config": config}
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder / "spec.json"


def run(spec: Path, out: Path) -> int:
    """The exit code of `run SPEC --out OUT`, done in this process."""
    return main(["run", str(spec), "--out", str(out)])


def result_of(out: Path) -> dict[str, Any]:
    """result.json of a run."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def curve(out: Path) -> list[dict[str, Any]]:
    """The metrics of every step, in order, without the one that depends on the clock."""
    lines = [line for line in read_progress(out / "progress.jsonl") if line["metrics"]]
    return [{"step": line["step"], **line["metrics"], "tokens_per_second": None} for line in lines]


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread, as in the child processes: the order of additions, and so every bit, depends on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
