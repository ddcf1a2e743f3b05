"""Training from a notebook or a script: the same runs as from the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training.engine.train.conftest import ROWS, curve, pairs, result_of, run, write_spec
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.ranks import program
from training.engine.runfolder import is_done
from training.engine.runs import check, train

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = {"learning_rate": 1e-3, "max_length": 128}


@pytest.mark.parametrize("method", ["dpo", "kto", "plackett_luce", "sft", "bradley_terry"])
def test_rows_train_the_same_model_as_a_spec_with_a_file_of_them(method, tmp_path, tiny_policy_dir):
    make = ROWS[LOSSES[method].dataset_kind]
    assert run(write_spec(tmp_path, method, tiny_policy_dir, **SETTINGS), tmp_path / "by-hand") == 0
    data = {"train": make(0, 24), "validation": make(24, 36)}
    found = train(method, model=tiny_policy_dir, data=data, out=tmp_path / "run", **SETTINGS)
    assert found.result["model_sha256"] == result_of(tmp_path / "by-hand")["model_sha256"]
    assert found.result["eval"]["validation"]["n"] > 0
    assert any(found.model.glob("*.safetensors"))
    assert is_done(tmp_path / "run")


def test_files_tables_and_rows_are_the_same_data(tmp_path, tiny_policy_dir):
    rows = pairs(0, 12)
    table = pd.DataFrame(rows)
    table.to_parquet(tmp_path / "pairs.parquet")
    assert table["margin"].isna().any()  # what no row of the list has, and no file either
    given = {"list": rows, "iterator": iter(rows), "table": table, "file": tmp_path / "pairs.parquet"}
    models = {
        name: train("dpo", model=tiny_policy_dir, data=data, out=tmp_path / name, **SETTINGS).result["model_sha256"]
        for name, data in given.items()
    }
    assert len(set(models.values())) == 1, models


def test_numbers_and_arrays_of_numpy_may_stand_in_rows(tmp_path, tiny_policy_dir):
    rows = ROWS["listwise"](0, 8)
    other = [row | {"ranks": np.array(row["ranks"]), "weight": np.float32(row["weight"])} for row in rows]
    models = [
        train("plackett_luce", model=tiny_policy_dir, data=data, out=tmp_path / str(number), **SETTINGS)
        for number, data in enumerate((rows, other))
    ]
    assert models[0].result["model_sha256"] == models[1].result["model_sha256"]


def test_every_step_has_its_metrics(tmp_path, tiny_policy_dir):
    found = train("dpo", model=str(tiny_policy_dir), data=pairs(0, 24), out=tmp_path / "run", batch_size=4, **SETTINGS)
    table = pd.DataFrame(found.metrics)
    assert list(table["step"]) == [1, 2, 3, 4, 5, 6]
    assert table["loss"].iloc[0] == pytest.approx(found.result["loss_first"])
    assert table["margin"].notna().all()


def test_a_finished_run_is_read_and_not_done_again(tmp_path, tiny_policy_dir):
    def again():
        return train("dpo", model=tiny_policy_dir, data=pairs(0, 12), out=tmp_path / "run", **SETTINGS)

    first = again()
    written = (tmp_path / "run/DONE.json").stat().st_mtime_ns
    assert again() == first
    assert (tmp_path / "run/DONE.json").stat().st_mtime_ns == written


def test_a_folder_whose_run_saw_other_rows_is_not_taken_for_this_one(tmp_path, tiny_policy_dir):
    train("dpo", model=tiny_policy_dir, data=pairs(0, 12), out=tmp_path / "run", **SETTINGS)
    with pytest.raises(EngineError, match=r"holds another run \('data.train' differs\)"):
        train("dpo", model=tiny_policy_dir, data=pairs(0, 13), out=tmp_path / "run", **SETTINGS)
    assert is_done(tmp_path / "run")


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"method": "dpo2"}, "method", "'method' must be one of"),
        ({"beat": 0.1}, "config.beat", "is no setting of method 'dpo'"),
        ({"beta": "much"}, "config.beta", "beta"),
        ({"data": None}, "data.train", "must be a path"),
        ({"data": 7}, "data.train", "must be a path"),
        ({"data": "nowhere.parquet"}, "data.train", "no such file"),
        ({"data": {"tran": []}}, "data.train", "'data.train' is missing"),
        ({"data": {"prompt": ["Why?"], "chosen": ["So."], "rejected": ["No."]}}, "data.train",
         "has 'prompt', 'chosen', 'rejected'. Give rows as a list"),
        ({"data": {"train": pairs(0, 4), "held_out": pairs(4, 8)}}, "data.held_out", "no split"),
        ({"data": [*pairs(0, 2), "a text"]}, "data.train", "train, row 2: a row must be a dictionary"),
        ({"data": [*pairs(0, 1), {"prompt": {"a", "b"}}]}, "data.train", "train, row 1: set cannot be written"),
        ({"data": [{"prompt": "Why?", "chosen": "So.", "rejected": "No.", "margin": float("nan")}]}, "data.train",
         "row 0"),
        ({"data": [*pairs(0, 1), {"prompt": "half of a character: \ud83d"}]}, "data.train", "train, row 1: 'utf-8'"),
        ({"data": [*pairs(0, 4), {"prompt": "Why?", "chosen": "So."}]}, "rejected", "row 4, column 'rejected'"),
        ({"data": []}, "data", "no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_an_error_that_names_row_field_and_cure(
    changed, field, said, tmp_path, tiny_policy_dir, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = {"method": "dpo", "model": tiny_policy_dir, "data": pairs(0, 8), "out": tmp_path / "run"} | changed
    with pytest.raises(EngineError) as refused:
        train(**arguments)
    assert refused.value.field == field
    assert said in refused.value.message
    assert not is_done(tmp_path / "run")


def test_a_refusal_is_kept_in_the_folder_and_forgotten_when_the_run_is_done(tmp_path, tiny_policy_dir):
    out, file = tmp_path / "run", tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "chosen": "So."}) + "\n")
    with pytest.raises(EngineError):
        train("dpo", model=tiny_policy_dir, data=file, out=out)
    assert json.loads((out / "error.json").read_text())["field"] == "rejected"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs(0, 8)))
    train("dpo", model=tiny_policy_dir, data=file, out=out)
    assert not (out / "error.json").exists()


def test_a_disk_too_full_for_the_rows_ends_in_a_sentence(tmp_path, tiny_policy_dir, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.engine.runs.write_atomic", full)
    with pytest.raises(EngineError, match="is full"):
        train("dpo", model=tiny_policy_dir, data=pairs(0, 8), out=tmp_path / "run")


def test_the_start_can_be_looked_at_without_writing_anything(tmp_path, tiny_policy_dir, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = check("dpo", model=tiny_policy_dir, data=pairs(0, 24), batch_size=4)
    assert found["steps"] == 6
    assert found["first_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_run_may_be_done_in_a_thread(tmp_path, tiny_policy_dir):
    found = []

    def work():
        found.append(train("dpo", model=tiny_policy_dir, data=pairs(0, 8), out=tmp_path / "run", **SETTINGS))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert [one.result["method"] for one in found] == ["dpo"]


def test_ctrl_c_leaves_a_checkpoint_and_the_same_call_goes_on(tmp_path, tiny_policy_dir):
    script = (
        "import json, sys; from training.engine.runs import train; "
        "rows = json.load(open('rows.json')); "
        f"run = train('dpo', model={str(tiny_policy_dir)!r}, data=rows, out=sys.argv[1], epochs=8, batch_size=4, "
        "learning_rate=1e-4, checkpoint_seconds=0.2); print(run.result['model_sha256'])"
    )
    (tmp_path / "rows.json").write_text(json.dumps(pairs(0, 48)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

    def start(out):
        return subprocess.Popen(
            [sys.executable, "-c", script, out], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    stopped = start("stopped")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "stopped/checkpoint").glob("step-*")) and time.monotonic() < deadline:
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=120)
    assert "Cancelled: The run was stopped after step" in said
    assert not is_done(tmp_path / "stopped")

    models = []
    for out in ("stopped", "whole"):
        printed, said = start(out).communicate(timeout=300)
        models.append(printed.strip())
        assert models[-1], said
    assert models[0] == models[1]
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")


def test_several_processes_are_refused_for_a_method_that_only_this_session_knows(
    tmp_path, tiny_policy_dir, monkeypatch
):
    own = {}
    exec(compile("def fn(chosen, rejected, *, beta): ...", "<cell 3>", "exec"), {"__name__": "__main__"}, own)
    monkeypatch.setitem(LOSSES, "mine", type("Method", (), {"fn": own["fn"]}))
    with pytest.raises(EngineError, match="Other processes cannot know 'mine' from here") as refused:
        program()
    assert refused.value.field == "config.processes"
