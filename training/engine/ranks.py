"""Starting the other processes of a run, and what they do with its folder: nothing. Standard library only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.progress import Progress
from training.engine.runfolder import RunFolder
from training.engine.spec import Spec

GRACE_SECONDS = 60.0


def run_folder(path: Path) -> RunFolder:
    """The run's folder for the process that writes it, one that only reads for the others (RANK > 0)."""
    return RunFolder(path) if int(os.environ.get("RANK", "0")) == 0 else FollowerFolder(path)


class FollowerFolder(RunFolder):
    """The folder of a run that another process writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, echo=False)
        self.progress = _Silence(path)

    @property
    def crash_log(self) -> Path:
        return self.path / f"crash-{os.environ['RANK']}.log"

    def open(self, spec: Spec) -> RunFolder:
        return self

    def finish(self, result: dict[str, Any]) -> None:
        pass

    def refuse(self, error: EngineError) -> None:
        pass


class _Silence(Progress):
    def report(
        self, *, step: int, steps: int, fraction: float, message: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        pass

    def rewind(self, step: int) -> None:
        pass


@contextmanager
def followers(count: int, folder: Path) -> Iterator[None]:
    """Within, `count` - 1 further processes do the run of `folder` along with this one, which is the first of them.

    Nothing is started where a launcher (torchrun, `accelerate launch`) already did.
    """
    if count == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *program(), "run", str(folder / "spec.json"), "--out", str(folder)]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
        )
        for rank in range(1, count)
    ]
    os.environ.update(world, RANK="0", LOCAL_RANK="0")
    finished = False
    try:
        yield
        finished = True
    finally:
        for name in (*world, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        for process in started:
            try:
                process.wait(GRACE_SECONDS if finished else 5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def program() -> list[str]:
    """The engine, or the file that is the engine with a method more."""
    own = [one.fn.__code__.co_filename for one in LOSSES.values() if one.fn.__module__ == "__main__"]
    return own[:1] or ["-m", "training.engine"]
