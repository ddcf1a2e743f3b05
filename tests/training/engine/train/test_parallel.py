"""A spec with `processes` or a launcher: one command, several processes, one result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.train.conftest import curve, result_of, run, write_spec
from training.engine.files import read_json
from training.engine.runfolder import is_done

ROOT = Path(__file__).resolve().parents[4]


def launched(spec, out, *, launcher=()):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *launcher, "-m", "training.engine", "run", str(spec), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def assert_alike(one, other):
    found, expected = (load_file(out / "model/model.safetensors") for out in (one, other))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=5e-6)
    left, right = (result_of(out) for out in (one, other))
    assert abs(left["eval"]["validation"]["loss"] - right["eval"]["validation"]["loss"]) < 1e-4
    assert left["tokens"] == right["tokens"]
    assert len(curve(one)) == len(curve(other))


def test_processes_that_shard_the_weights_leave_what_one_process_leaves(tmp_path, tiny_policy_dir):
    config = {"learning_rate": 1e-4, "batch_size": 8}
    assert run(write_spec(tmp_path / "one/in", "kto", tiny_policy_dir, **config), tmp_path / "one/out") == 0
    spec = write_spec(tmp_path / "two/in", "kto", tiny_policy_dir, processes=2, shard=True, **config)
    launched(spec, tmp_path / "two/out")
    assert is_done(tmp_path / "two/out")
    assert_alike(tmp_path / "two/out", tmp_path / "one/out")


TORCHRUN = "torch.distributed.run --standalone --nproc-per-node=2"
# On a CPU alone accelerate would want MPI; the processes find out for themselves that there is no GPU.
ACCELERATE = (
    "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 "
    "--mixed_precision no --dynamo_backend no"
)


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate launch"])
def test_a_launcher_may_start_the_processes(tmp_path, tiny_policy_dir, launcher):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir, learning_rate=1e-4)
    assert run(spec, tmp_path / "one") == 0
    launched(spec, tmp_path / "two", launcher=("-m", *launcher.split()))
    assert_alike(tmp_path / "two", tmp_path / "one")


def test_more_processes_than_processors_are_refused_before_one_is_started(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir, processes=1024)
    assert run(spec, tmp_path / "out") == 2
    error = read_json(tmp_path / "out" / "error.json")
    assert error["field"] == "config.processes"
    assert "this run asks for 1,024. Set processes to at most" in error["message"]


# The engine, whose second process is killed at its start (0), or when it sums up a step for the nth time.
LOSING = """
import os, signal, sys
from training.engine import cli, ranks
from training.engine.passes import Sums

honest, times = Sums.total, []

def total(self, world):
    times.append(1)
    if os.environ["RANK"] == "1" and len(times) == int(os.environ["LOST_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    honest(self, world)

Sums.total = total
ranks.NOTICE_SECONDS = 1.0
ranks.program = lambda: [__file__]
if os.environ.get("RANK") == "1" and os.environ["LOST_AT"] == "0":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("time", [0, 3], ids=["at the start", "in the middle"])
def test_a_process_that_is_lost_ends_the_run_with_a_sentence(tmp_path, tiny_policy_dir, time):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir, processes=2, epochs=4)
    script = tmp_path / "losing.py"
    script.write_text(LOSING)
    command = [sys.executable, str(script), "run", str(spec), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment["LOST_AT"] = str(time)
    # Without the watch the first process waits for the other one for half an hour.
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "Process 2 of 2 was killed (SIGKILL)" in read_json(tmp_path / "out" / "error.json")["message"]
    if time:
        assert len(curve(tmp_path / "out")) == time - 1
