"""Starting the other processes of a run, and what they do with its folder: nothing. Standard library only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.engine.console import say
from training.engine.errors import Cancelled, EngineError
from training.engine.losses import LOSSES
from training.engine.progress import Progress
from training.engine.runfolder import RunFolder
from training.engine.spec import Spec

GRACE_SECONDS = 60.0
LAST_SECONDS = 2.0
NOTICE_SECONDS = 15.0  # for the first process to notice by itself that another one is gone
# Exit codes of the command line: at work, done, stopped; and what has its reason in error.json.
FINE, REFUSED = (None, 0, 3), 2


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
def followers(count: int, folder: RunFolder) -> Iterator[None]:
    """Within, `count` - 1 further processes do the run of `folder` along with this one, which is the first of them.

    EngineError where one of them is lost. Where this one waits for it all the same, deaf to signals, it is ended with
    the same words in error.json. Nothing is started where a launcher (torchrun, `accelerate launch`) already did.
    """
    if count == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *program(), "run", str(folder.path / "spec.json"), "--out", str(folder.path)]
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
    over = threading.Event()
    threading.Thread(target=_watch, args=(started, folder, over), daemon=True).start()
    try:
        yield
        finished = True
    except (EngineError, Cancelled):
        raise
    except Exception as error:
        if lost := _lost_soon(started):
            raise EngineError(lost) from error
        raise
    finally:
        over.set()
        for name in (*world, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
        for process in started:
            try:
                process.wait(GRACE_SECONDS if finished else 5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watch(started: Sequence[subprocess.Popen[bytes]], folder: RunFolder, over: threading.Event) -> None:
    while not over.wait(0.5):
        lost = _lost(started)
        if lost and not over.wait(NOTICE_SECONDS):
            folder.refuse(EngineError(lost))
            say(f"Refused: {lost}")
            for process in started:
                process.kill()
            os._exit(REFUSED)


def _lost_soon(started: Sequence[subprocess.Popen[bytes]]) -> str | None:
    """As `_lost`, for the moment in which something broke: a connection can be gone before the process behind it is.

    Only a killed process is waited for. One that broke as this one did, a moment later, is not the reason.
    """
    end = time.monotonic() + LAST_SECONDS
    lost = _lost(started)
    while not lost and time.monotonic() < end:
        time.sleep(0.05)
        if any((process.poll() or 0) < 0 for process in started):
            lost = _lost(started)
    return lost


def _lost(started: Sequence[subprocess.Popen[bytes]]) -> str | None:
    """What became of the first process that ended as none should, and the cure; None where all is well."""
    for rank, process in enumerate(started, 1):
        code = process.poll()
        if code not in FINE:
            which = f"Process {rank + 1} of {len(started) + 1}"
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                return f"{which} was killed ({name}), often for want of memory. Run it again with a lower token_budget."
            return f"{which} ended with exit code {code}; crash-{rank}.log may say why. Run it again to go on."
    return None


def program() -> list[str]:
    """The engine, or the file that is the engine with a method more. EngineError where that is no file."""
    own = [(name, one.fn.__code__.co_filename) for name, one in LOSSES.items() if one.fn.__module__ == "__main__"]
    for name, file in own:
        if not Path(file).is_file():
            message = f"Other processes cannot know {name!r} from here. Write it into a file, or set processes to 1."
            raise EngineError(message, field="config.processes")
    return [file for _, file in own[:1]] or ["-m", "training.engine"]
