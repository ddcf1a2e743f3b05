"""The worker's side of a run: start the engine as a child process, follow it, take in what it made."""

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings

from feedback_site.jobs.children import run_child
from feedback_site.jobs.context import JobContext, JobFailed
from feedback_site.jobs.guard import CANNOT_START
from training.models import Run
from training.paths import data_dir, run_inputs, run_output
from training.progress import ProgressReader
from training.services.collect import collect_run
from training.services.inputs import write_inputs

# How the engine ends; see training/engine/cli.py.
DONE, REFUSED = 0, 2
# What is left for collecting when the engine has reached its end.
ENGINE_SHARE = 0.97
# The engine writes a checkpoint before it stops.
GRACE_SECONDS = 60.0
LOG_SHOWN = 2000
# A message that differs from the one before in numbers only counts on: the log keeps the first.
NUMBERS = re.compile(r"[\d,.]+")


class EngineDied(Exception):
    """The child ended without a refusal: killed, or a bug. The job is tried again and resumes."""


def supervise(*, run: Run, context: JobContext) -> dict[str, Any]:
    """Do the run to its end. A second attempt goes on from the checkpoint of the first."""
    spec = write_inputs(run)
    out = run_output(run)
    log = run_inputs(run) / "engine.log"
    reader = ProgressReader(out / "progress.jsonl")
    said = ""

    def watch() -> None:
        nonlocal said
        for line in reader.new_lines():
            message = line.get("message", "")
            context.progress(ENGINE_SHARE * line.get("fraction", 0), message)
            stage = NUMBERS.sub("", message)
            if stage and stage != said and not line.get("metrics"):
                context.log(message)
            said = stage

    status = run_child(
        context,
        [_python(), "-m", "training.engine", "run", str(spec), "--out", str(out)],
        cwd=settings.BASE_DIR,
        log=log,
        env=_environment(),
        grace=GRACE_SECONDS,
        lock=run_inputs(run) / "engine.lock",
        watch=watch,
    )
    if status == REFUSED:
        raise JobFailed(_refusal(out))
    if status != DONE:
        context.log(_tail(log), level="debug")
        _give_up_or_retry(run, context, status)
    return collect_run(run=run, context=context)


def _give_up_or_retry(run: Run, context: JobContext, status: int) -> NoReturn:
    """EngineDied, which is tried again; after the last attempt JobFailed, which says what people can do."""
    if status == CANNOT_START:
        raise JobFailed(
            f"The engine cannot be started with {_python()}. Set PLUMB_ENGINE_PYTHON to a Python that has torch, "
            "restart the worker, and try again."
        )
    how = f"was killed by {_signal_name(status - 128)}" if status > 128 else f"broke down with status {status}"
    if run.job is not None and context.attempt < run.job.max_attempts:
        context.log(f"The engine {how}. It is started again and goes on from its last checkpoint.", level="warning")
        raise EngineDied(f"the engine {how}")
    cure = (
        "The machine may be short of memory: lower token_budget or max_length in a new run, or try this one again."
        if status - 128 == signal.SIGKILL
        else "The log of the job tells staff more. Try again, or start a new run with other settings."
    )
    raise JobFailed(f"The engine {how}, and this was the last attempt. {cure}")


def _python() -> str:
    return settings.ENGINE_PYTHON or sys.executable


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _environment() -> dict[str, str]:
    """What the engine may know: its own caches below the data folder, and that tokenizers must not fork."""
    caches = Path(settings.DATA_DIR) / "cache"
    return {
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CACHE_ROOT": str(caches / "vllm"),
        "PLUMB_REFERENCE_CACHE": os.environ.get("PLUMB_REFERENCE_CACHE") or str(caches / "reference"),
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
    }


def _refusal(out: Path) -> str:
    """The sentence of error.json: what a person has to change. Paths begin below the data folder, as on the page."""
    try:
        message = str(json.loads((out / "error.json").read_text(encoding="utf-8"))["message"])
    except (OSError, ValueError, KeyError):
        return "The engine refused this run without saying why; its log is on the job's page."
    return message.replace(f"{data_dir()}/", "")


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-LOG_SHOWN:].decode(errors="replace")
    except OSError:
        return ""
