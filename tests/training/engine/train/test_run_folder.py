"""A folder counts only with a DONE.json that every file agrees with."""

import json
import multiprocessing
import os

import pytest

from training.engine.errors import EngineError
from training.engine.files import sha256_of, whole_folder, write_atomic
from training.engine.progress import Progress, read_progress
from training.engine.runfolder import FolderBusy, RunFolder, is_done, problems
from training.engine.spec import validate

SPEC = validate({"task": "train", "method": "sft", "model": "m", "data": {"train": "t"}})


@pytest.fixture
def finished(tmp_path):
    folder = RunFolder(tmp_path / "run", echo=False).open(SPEC)
    folder.model.mkdir()
    (folder.model / "model.safetensors").write_bytes(b"weights")
    folder.checkpoint.mkdir()
    folder.progress.report(step=1, steps=1, fraction=1.0, message="done")
    folder.finish({"steps": 1})
    folder.close()
    return folder.path


def test_a_finished_folder_is_done_and_names_every_file_by_its_sha256(finished):
    assert is_done(finished)
    files = json.loads((finished / "DONE.json").read_text())["files"]
    assert sorted(files) == ["model/model.safetensors", "progress.jsonl", "result.json", "spec.json"]
    assert all(sha256_of(finished / name) == digest for name, digest in files.items())
    assert not (finished / "checkpoint").exists()


def test_a_changed_byte_and_a_lost_file_are_both_seen(finished):
    (finished / "model/model.safetensors").write_bytes(b"weightS")
    assert "model/model.safetensors" in problems(finished)[0]
    (finished / "model/model.safetensors").unlink()
    assert "not there" in problems(finished)[0]


@pytest.mark.parametrize("done", ["", "{", "[]", "{}", '{"files": {}}', '{"files": 3}'])
def test_a_half_written_done_file_is_never_taken_as_done(finished, done):
    (finished / "DONE.json").write_text(done)
    assert not is_done(finished)


def test_a_folder_without_done_is_not_done_whatever_else_is_in_it(finished):
    (finished / "DONE.json").unlink()
    assert not is_done(finished)
    assert not is_done(finished / "nowhere")


def test_a_folder_of_another_spec_is_refused_and_the_difference_named(finished):
    other = validate({**SPEC.to_dict(), "config": {**SPEC.config, "epochs": 3}})
    with pytest.raises(EngineError, match="epochs"):
        RunFolder(finished, echo=False).open(other)


def test_a_second_process_in_the_same_folder_is_told_who_is_there(tmp_path):
    folder = RunFolder(tmp_path / "run", echo=False).open(SPEC)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        message = pool.apply(_open_and_say, (tmp_path / "run",))
    assert str(os.getpid()) in message
    folder.close()
    RunFolder(tmp_path / "run", echo=False).open(SPEC).close()


def _open_and_say(path):
    try:
        RunFolder(path, echo=False).open(SPEC)
    except FolderBusy as busy:
        return str(busy)
    return "nobody there"


def test_an_out_that_cannot_be_a_folder_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run", echo=False).open(SPEC)


def test_a_refusal_is_kept_and_forgotten_when_the_run_starts_again(tmp_path):
    folder = RunFolder(tmp_path, echo=False).open(SPEC)
    folder.refuse(EngineError("Row 3 is empty.", row=3, field="chosen"))
    expected = {"message": "Row 3 is empty.", "row": 3, "field": "chosen"}
    assert json.loads((tmp_path / "error.json").read_text()) == expected
    folder.close()
    RunFolder(tmp_path, echo=False).open(SPEC).close()
    assert not (tmp_path / "error.json").exists()


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_folder_that_fails_while_it_is_filled_never_takes_its_name(tmp_path):
    def fill():
        with whole_folder(tmp_path / "run" / "model") as partial:
            (partial / "weights").write_bytes(b"half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fill()
    assert list((tmp_path / "run").iterdir()) == []


def test_progress_is_cut_back_to_the_checkpoint_and_a_torn_line_passed_over(tmp_path):
    progress = Progress(tmp_path / "progress.jsonl", echo=False)
    for step in range(1, 6):
        progress.report(step=step, steps=9, fraction=step / 9, message="training", metrics={"loss": 1 / step})
    with progress.path.open("a") as stream:
        stream.write('{"time": "2026-')
    progress.rewind(3)
    assert [line["step"] for line in read_progress(progress.path)] == [1, 2, 3]
    progress.report(step=4, steps=9, fraction=0.5, message="training", metrics={"loss": float("nan")})
    lines = list(read_progress(progress.path))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["metrics"] == {}
