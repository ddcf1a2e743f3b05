"""The task `starter`, made tiny: from nothing to a policy that loads, samples, and comes out the same again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.engine.checkpoint import Checkpoints
from training.engine.cli import main
from training.engine.errors import Cancelled
from training.engine.modelfiles import check_model_folder, load_policy
from training.engine.runfolder import RunFolder, is_done
from training.engine.spec import validate
from training.engine.stop import Stop
from training.engine.tasks import starter


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "TOKENIZER_CONVERSATIONS", 200)
    monkeypatch.setattr(starter, "HELD_OUT", 8)
    monkeypatch.setattr(starter, "STEPS_PER_SECOND", 3)


def make(out: Path, *, seed: int = 0, stop: Stop | None = None) -> dict[str, Any]:
    spec = validate({"task": "starter", "config": {"seed": seed, "seconds": 1}})
    folder = RunFolder(out, echo=False).open(spec)
    try:
        return starter.run(spec, folder, stop=stop or Stop())
    finally:
        folder.close()


class StopInTraining(Stop):
    """Asks to stop once the first step is on disk as progress."""

    def __init__(self, progress: Path) -> None:
        super().__init__()
        self._progress = progress

    def __getattribute__(self, name: str) -> Any:
        if name != "requested":
            return super().__getattribute__(name)
        return self._progress.exists() and "step 1 of" in self._progress.read_text(encoding="utf-8")


def test_a_run_leaves_a_policy_that_samples(tmp_path: Path) -> None:
    spec, out = tmp_path / "spec.json", tmp_path / "starter"
    spec.write_text(json.dumps({"task": "starter", "config": {"seconds": 1}}), encoding="utf-8")
    assert main(["run", str(spec), "--out", str(out)]) == 0
    assert is_done(out)
    check_model_folder(out / "model")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert (result["method"], result["steps"]) == ("sft", 3)
    assert 1_000_000 < result["parameters"] < 4_000_000
    assert result["loss_last"] < result["loss_first"]
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    fractions = [line["fraction"] for line in lines]
    assert len(lines) >= 6
    assert fractions == sorted(fractions)

    prompts = tmp_path / "prompts.jsonl"
    row = {"id": "a", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]}
    prompts.write_text(json.dumps(row) + "\n", encoding="utf-8")
    config = {"sampler": "transformers", "n": 2, "max_tokens": 4}
    document = {"task": "sample", "model": str(out / "model"), "prompts": str(prompts), "config": config}
    spec.write_text(json.dumps(document), encoding="utf-8")
    assert main(["run", str(spec), "--out", str(tmp_path / "samples")]) == 0


def test_the_model_suits_every_sampler(tmp_path: Path) -> None:
    make(tmp_path / "run")
    model, tokenizer = load_policy(tmp_path / "run" / "model")
    assert model.config.head_dim in (32, 64, 128)
    assert model.config.max_position_embeddings == 2048
    assert model.config.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id == model.config.pad_token_id


def test_the_same_seed_makes_the_same_weights(tmp_path: Path) -> None:
    first, again, other = (make(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first["model_sha256"] == again["model_sha256"] != other["model_sha256"]


def test_a_stopped_run_ends_with_the_weights_of_one_never_stopped(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    cut = tmp_path / "cut"
    with pytest.raises(Cancelled):
        make(cut, stop=StopInTraining(cut / "progress.jsonl"))
    assert Checkpoints(cut / "checkpoint").step() == 1
    resumed = make(cut)
    assert resumed["model_sha256"] == whole["model_sha256"]
    assert resumed["steps"] == 3
