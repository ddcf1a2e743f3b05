"""What a held-out split lacks costs figures of that split, never the run."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.train.conftest import curve, result_of, run, write_spec
from training.engine.cli import REFUSED
from training.engine.files import read_json


def rewrite(path: Path, **changes: Any) -> None:
    """Gives every row of a file these columns."""
    rows = [json.loads(line) | changes for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def warnings(out: Path) -> dict[str, str]:
    """The messages of the checks that warn, by name."""
    return {one["name"]: one["message"] for one in result_of(out)["checks"] if one["level"] == "warning"}


def test_kto_measures_a_split_with_one_prompt_against_the_baseline_of_training(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir, batch_size=12, learning_rate=1e-2)
    rewrite(tmp_path / "in/validation.jsonl", prompt=[{"role": "user", "content": "What is the capital?"}])
    assert run(spec, tmp_path / "out") == 0
    assert "validation" in warnings(tmp_path / "out")["validation.baseline"]
    figures, last = result_of(tmp_path / "out")["eval"]["validation"], curve(tmp_path / "out")[-1]
    assert last["baseline"] > 0
    assert figures["baseline"] == pytest.approx(last["baseline"])
    assert figures["n"] == 24


def test_kto_says_nothing_of_a_split_that_has_a_baseline_of_its_own(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir, batch_size=12)
    assert run(spec, tmp_path / "out") == 0
    assert "validation.baseline" not in warnings(tmp_path / "out")


@pytest.mark.parametrize("method", ["dpo", "preference_model"])
def test_a_split_of_which_nothing_can_be_used_is_left_out_of_evaluation(method, tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", method, tiny_policy_dir, max_length=128)
    rewrite(tmp_path / "in/validation.jsonl", chosen="It is a city. " * 40)
    assert run(spec, tmp_path / "out") == 0
    assert "validation" in warnings(tmp_path / "out")["validation.rows"]
    result = result_of(tmp_path / "out")
    assert result["eval"] == {}
    assert list(result["data"]) == ["train"]


def test_an_empty_file_for_a_split_is_refused_as_it_was_hardly_meant(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    (tmp_path / "in/validation.jsonl").write_text("")
    assert run(spec, tmp_path / "out") == REFUSED
    assert read_json(tmp_path / "out/error.json")["message"].startswith("validation.jsonl has no rows")
