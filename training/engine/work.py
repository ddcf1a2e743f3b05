"""Doing the run of a spec, whoever asked for it, and what one that goes wrong leaves.

Standard library only, as long as nothing is trained.
"""

from __future__ import annotations

import errno
import importlib
import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from training.engine.errors import Cancelled, EngineError
from training.engine.files import write_atomic
from training.engine.runfolder import RunFolder
from training.engine.spec import Spec, check_files
from training.engine.stop import Stop

LIBRARIES = {
    # What they print about themselves would only bury what the run says.
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # How long a thread of torch turns round and round before it sleeps, waiting for the others: GNU OpenMP's 300,000
    # are milliseconds, in which nobody else gets the core, not even the thread that is waited for.
    "GOMP_SPINCOUNT": "30000",
}


def do(spec: Spec, folder: RunFolder) -> dict[str, Any]:
    """Do the run of an open folder, or go on with it; returns the content of result.json, nothing in a process that
    only helps another one.

    Raises EngineError for what a person can mend, which stands in error.json then; Cancelled once the run was asked to
    stop and has its checkpoint; and whatever else breaks, with its traceback in crash.log.
    """
    try:
        check_files(spec)
        stop = Stop()
        with stop.listening(), known_trouble(folder.path):
            result: dict[str, Any] = _task(spec).run(spec, folder, stop=stop)
            folder.finish(result)
        return result
    except Cancelled:
        raise
    except Exception as error:
        _leave_reason(folder, error)
        raise


def look(spec: Spec) -> dict[str, Any]:
    """The start checks of a spec's task; writes nothing. Raises EngineError and Cancelled as `do` does."""
    check_files(spec)
    stop = Stop()
    with stop.listening(), known_trouble(Path(tempfile.gettempdir())):
        task = _task(spec)
        return task.check(spec, stop=stop) if hasattr(task, "check") else {}


def breakdown(error: Exception, folder: RunFolder) -> EngineError:
    """What error.json says of an error that nobody expected."""
    return EngineError(f"The engine broke down ({type(error).__name__}). See {folder.crash_log}.")


def _leave_reason(folder: RunFolder, error: Exception) -> None:
    """error.json says what went wrong; the traceback of what nobody expected goes to crash.log. Where nothing can be
    written, that is added to the error."""
    try:
        if isinstance(error, EngineError):
            folder.refuse(error)
        else:
            write_atomic(folder.crash_log, "".join(traceback.format_exception(error)).encode())
            folder.refuse(breakdown(error, folder))
    except OSError as unwritten:
        error.add_note(f"The reason cannot be kept in {folder.path}: {unwritten.strerror}.")


def _task(spec: Spec) -> ModuleType:
    """The module of the task, with its libraries, which read their settings when they are loaded."""
    for name, value in LIBRARIES.items():
        os.environ.setdefault(name, value)
    return importlib.import_module(f"training.engine.tasks.{spec.task}")


@contextmanager
def known_trouble(out: Path) -> Iterator[None]:
    """Within, troubles that a person can end are EngineErrors with a sentence: full disk, missing rights, too little
    memory."""
    try:
        yield
    except (EngineError, Cancelled):
        raise
    except Exception as error:
        if trouble := _sentence(error, out):
            raise trouble from error
        raise


def _sentence(error: Exception, out: Path) -> EngineError | None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(f"The disk of {out} is full. Free some space and run again: the run goes on.", field="out")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        where = error.filename or out
        return EngineError(f"{where} cannot be read or written: {error.strerror}. Change its rights or name another.")
    # safetensors reports a full disk in its own error type, torch a failed allocation as RuntimeError.
    text = str(error).lower()
    if "no space left on device" in text:
        return EngineError(f"The disk of {out} is full. Free some space and run again: the run goes on.", field="out")
    if isinstance(error, MemoryError) or "out of memory" in text or "not enough memory" in text:
        return EngineError(
            "There is not enough memory. Lower 'token_budget' or 'max_length'.", field="config.token_budget"
        )
    return None
