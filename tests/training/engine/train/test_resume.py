"""A run that was killed or stopped ends with the very bits of a run that never was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.engine.train.conftest import curve, result_of, run, write_spec
from training.engine.cli import STOPPED
from training.engine.errors import Cancelled
from training.engine.progress import read_progress
from training.engine.runfolder import RunFolder, is_done
from training.engine.spec import read_spec
from training.engine.stop import Stop
from training.engine.tasks import train

ROOT = Path(__file__).resolve().parents[4]
LONG = {"epochs": 8, "batch_size": 4, "learning_rate": 1e-4, "checkpoint_seconds": 0.2}


def start(spec, out):
    """The real program in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "training.engine", "run", str(spec), "--out", str(out)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def newest_checkpoint(out):
    found = [int(path.name[5:]) for path in (out / "checkpoint").glob("step-*") if path.suffix != ".partial"]
    return max(found, default=0)


def last_step(out):
    path = out / "progress.jsonl"
    return max((line["step"] for line in read_progress(path)), default=0) if path.exists() else 0


def wait_until_between_checkpoints(process, out, *, steps_per_epoch):
    """Wait for a checkpoint with further steps after it, in the middle of an epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        step = last_step(out)
        if 0 < newest_checkpoint(out) < step and step % steps_per_epoch > 1:
            return
        time.sleep(0.005)
    pytest.fail("the run made no checkpoint in two minutes")


def assert_same_result(one, other):
    for file in (path for path in sorted((one / "model").rglob("*")) if path.is_file()):
        name = file.relative_to(one)
        assert file.read_bytes() == (other / name).read_bytes(), name
    assert curve(one) == curve(other)
    untimed = {"train_seconds": None, "reference_seconds": None, "peak_memory_bytes": None}
    assert {**result_of(one), **untimed} == {**result_of(other), **untimed}


@pytest.mark.slow
def test_a_killed_dpo_run_resumes_to_the_same_bits_as_one_never_killed(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir, **LONG)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(spec, killed)
    wait_until_between_checkpoints(process, killed, steps_per_epoch=6)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not is_done(killed)
    assert newest_checkpoint(killed) < last_step(killed) < 48

    assert run(spec, killed) == 0
    assert run(spec, whole) == 0
    assert_same_result(killed, whole)
    assert is_done(killed)
    assert not (killed / "checkpoint").exists()


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_exit_code_3_and_kto_goes_on_to_the_same_bits(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir, **LONG | {"epochs": 4})
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = start(spec, stopped)
    wait_until_between_checkpoints(process, stopped, steps_per_epoch=12)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == STOPPED
    assert "Run the same command again" in said
    assert newest_checkpoint(stopped) == last_step(stopped) > 0
    assert not (stopped / "error.json").exists()

    assert run(spec, stopped) == 0
    assert run(spec, whole) == 0
    assert_same_result(stopped, whole)


class StopAtStep(Stop):
    """A wish to stop that comes while the run is at a given step."""

    def __init__(self, out, step):
        self._out, self._step = out, step
        super().__init__()

    @property
    def requested(self):
        return last_step(self._out) >= self._step

    @requested.setter
    def requested(self, value):
        pass


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("bradley_terry", {}),
        ("davidson", {"heads": 3, "laplace": 1.0, "lora_rank": 4}),
        ("sft", {"gradient_checkpointing": True}),
        ("dpo", {"lora_rank": 4}),
    ],
)
def test_a_run_stopped_in_mid_epoch_resumes_to_the_same_bits(tmp_path, tiny_policy_dir, method, more):
    config = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, **more}
    spec = write_spec(tmp_path / "in", method, tiny_policy_dir, **config)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    folder = RunFolder(stopped, echo=False).open(read_spec(spec))
    with pytest.raises(Cancelled):
        train.run(read_spec(spec), folder, stop=StopAtStep(stopped, 4))
    folder.close()
    assert newest_checkpoint(stopped) == 4

    assert run(spec, stopped) == 0
    assert run(spec, whole) == 0
    assert_same_result(stopped, whole)


def test_a_stop_during_the_evaluation_keeps_the_training(tmp_path, tiny_policy_dir, monkeypatch):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir, batch_size=8)
    folder = RunFolder(tmp_path / "out", echo=False).open(read_spec(spec))

    def stopped_evaluation(*arguments, **options):
        raise Cancelled("The run was asked to stop.")

    with monkeypatch.context() as patched:
        patched.setattr("training.engine.trainingjob.evaluate", stopped_evaluation)
        with pytest.raises(Cancelled):
            train.run(read_spec(spec), folder, stop=Stop())
    folder.close()
    assert newest_checkpoint(tmp_path / "out") == 3
    assert run(spec, tmp_path / "out") == 0
    assert len(curve(tmp_path / "out")) == 3


def stopped_after_two_steps(spec, out):
    folder = RunFolder(out, echo=False).open(read_spec(spec))
    with pytest.raises(Cancelled):
        train.run(read_spec(spec), folder, stop=StopAtStep(out, 2))
    folder.close()
    return out / "checkpoint/step-00000002"


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: (checkpoint / "optimizer.safetensors").unlink(),
        lambda checkpoint: (checkpoint / "state.json").write_text('{"step": 2'),
        lambda checkpoint: (checkpoint / "state.json").write_text("[]"),
        lambda checkpoint: (checkpoint / "weights.safetensors").write_bytes(
            (checkpoint / "weights.safetensors").read_bytes()[:-4] + b"oops"
        ),
    ],
    ids=["missing file", "cut short", "another document", "other bytes"],
)
def test_a_damaged_checkpoint_is_refused_and_named(tmp_path, tiny_policy_dir, capsys, damage):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir, epochs=2, batch_size=8)
    damage(stopped_after_two_steps(spec, tmp_path / "out"))
    assert run(spec, tmp_path / "out") == 2
    assert "damaged" in capsys.readouterr().err


def change_the_data(folder):
    path = folder / "in/train.jsonl"
    path.write_text(path.read_text().replace("Thank you!", "Thanks a lot."))


def change_the_model(folder):
    path = folder / "model/config.json"
    path.write_text(path.read_text().replace('"rope_theta": 10000.0', '"rope_theta": 9000.0'))


def change_the_settings(folder):
    (folder / "out/spec.json").write_text("")  # of which the run then believes what it is told
    path = folder / "in/spec.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 3'))


@pytest.mark.parametrize(
    ("change", "named"), [(change_the_data, "data.train"), (change_the_model, "model"), (change_the_settings, "config")]
)
def test_a_checkpoint_is_not_taken_up_when_what_it_was_made_from_has_changed(
    tmp_path, tiny_policy_dir, capsys, change, named
):
    shutil.copytree(tiny_policy_dir, tmp_path / "model")
    spec = write_spec(tmp_path / "in", "dpo", tmp_path / "model", epochs=2, batch_size=8)
    checkpoint = stopped_after_two_steps(spec, tmp_path / "out")
    change(tmp_path)
    assert run(spec, tmp_path / "out") == 2
    assert f"'{named}' is not what it was" in capsys.readouterr().err
    assert checkpoint.is_dir()


def test_what_a_killed_write_left_of_a_checkpoint_goes_with_the_next_one(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir, epochs=2, batch_size=8)
    left = tmp_path / "out/checkpoint/step-00000001.partial"
    left.mkdir(parents=True)
    stopped_after_two_steps(spec, tmp_path / "out")
    assert not left.exists()


def test_a_finished_run_is_not_done_again(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir)
    assert run(spec, tmp_path / "out") == 0
    before = (tmp_path / "out/DONE.json").stat().st_mtime_ns
    assert run(spec, tmp_path / "out") == 0
    assert (tmp_path / "out/DONE.json").stat().st_mtime_ns == before
