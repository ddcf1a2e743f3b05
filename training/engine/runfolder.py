"""A run is a folder; DONE.json, written last, makes it count. Standard library only.

    spec.json  checks.json  progress.jsonl  checkpoint/  model/ or completions.jsonl  result.json
    DONE.json or error.json

checks.json is what a training run's start found; result.json has that as well, and what its end found.

Nothing in a folder without a valid DONE.json may be taken as a result.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.files import PARTIAL, fsync_path, read_json, sha256_of, write_json
from training.engine.progress import Progress
from training.engine.spec import Spec, validate

DONE = "DONE.json"
ERROR = "error.json"
LOCK = ".lock"
CHECKPOINT = "checkpoint"
# What a failure leaves: forgotten when the run is started again.
TROUBLES = (ERROR, "bad_batch.json", "crash.log")


class FolderBusy(EngineError):
    """Another process is working in this run folder."""


class RunFolder:
    """The folder of one run, held by this process until `close` (or until it dies)."""

    def __init__(self, path: Path, *, echo: bool = True) -> None:
        self.path = path
        self.progress = Progress(path / "progress.jsonl", echo=echo)
        self._lock: int | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the run keeps what it needs to go on: gone once the run is done."""
        return self.path / CHECKPOINT

    @property
    def crash_log(self) -> Path:
        """Where the traceback of a breakdown goes."""
        return self.path / "crash.log"

    @property
    def model(self) -> Path:
        """Where a training run leaves its model."""
        return self.path / "model"

    def open(self, spec: Spec) -> RunFolder:
        """Make the folder, take its lock, keep the spec; an earlier failure is forgotten.

        Raises FolderBusy, or EngineError when the folder belongs to another spec or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            message = f"The run folder {self.path} cannot be written: {error.strerror}. Name another one."
            raise EngineError(message, field="out") from None
        self._keep_spec(spec)
        for name in TROUBLES:
            (self.path / name).unlink(missing_ok=True)
        return self

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, then DONE.json with the sha256 of every file, then drop the checkpoint."""
        write_json(self.path / "result.json", result)
        (self.path / DONE).unlink(missing_ok=True)
        names = _result_files(self.path)
        for name in names:
            fsync_path(self.path / name)
        files = {name: sha256_of(self.path / name) for name in names}
        write_json(self.path / DONE, {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "files": files})
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def refuse(self, error: EngineError) -> None:
        """Leave error.json: what a person has to change."""
        write_json(self.path / ERROR, error.as_dict())

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            message = f"Process {holder or '?'} is at work in the run folder {self.path}. Wait for it or stop it first."
            raise FolderBusy(message, field="out") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def _keep_spec(self, spec: Spec) -> None:
        path = self.path / "spec.json"
        kept = read_json(path)
        if kept is None:
            write_json(path, spec.to_dict())
        elif validate(kept) != spec:
            differing = _first_difference(validate(kept).to_dict(), spec.to_dict())
            message = f"The run folder {self.path} holds another run ('{differing}' differs). Name another folder."
            raise EngineError(message, field="out")


def problems(path: Path) -> list[str]:
    """What keeps a run folder from counting as done, one sentence each; empty when it is done and unharmed."""
    done = read_json(path / DONE)
    if not isinstance(done, dict) or not isinstance(done.get("files"), dict) or not done["files"]:
        return [f"{path} has no valid {DONE}: the run has not finished."]
    found = []
    for name, expected in done["files"].items():
        file = path / name
        if not file.is_file():
            found.append(f"{name} is named in {DONE} and is not there.")
        elif sha256_of(file) != expected:
            found.append(f"{name} is not the file that the run wrote: its sha256 differs from {DONE}.")
    return found


def is_done(path: Path) -> bool:
    """Whether the folder holds a finished run, every file with the sha256 that DONE.json names."""
    return not problems(path)


def _result_files(path: Path) -> list[str]:
    """Names of the files that belong to the result: not the lock, the checkpoint, logs or partial files."""
    found = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        unfinished = name.parts[0] == CHECKPOINT or file.suffix in (".log", PARTIAL)
        left_out = unfinished or name.name in (LOCK, ERROR, DONE)
        if file.is_file() and not left_out:
            found.append(name.as_posix())
    return found


def _first_difference(kept: dict[str, Any], given: dict[str, Any]) -> str:
    for key in sorted({*kept, *given}):
        left, right = kept.get(key), given.get(key)
        if isinstance(left, dict) and isinstance(right, dict) and left != right:
            return f"{key}.{_first_difference(left, right)}"
        if left != right:
            return key
    return "spec"
