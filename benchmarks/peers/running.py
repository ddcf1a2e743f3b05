"""Workers: one process at a time, each side with its own Python."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from training.engine.work import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
# `make peers` puts it beside the environment that this runs in.
PEERS = Path(f"{sys.prefix}-peers") / "bin" / "python"


class Workers:
    """Starts `peers.<side>` with a list of jobs and reads what it found."""

    def __init__(self, *, threads: int, verbose: bool = False) -> None:
        self._threads = threads
        self._verbose = verbose

    def run(self, side: str, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a side (`ours`, `theirs`, `plain`) found for each job, in one process."""
        with tempfile.TemporaryDirectory() as folder:
            prepared = []
            for number, job in enumerate(jobs):
                one = {**job, "threads": self._threads, "out": f"{folder}/{number}.json"}
                if "gradients" in job:
                    one["gradients"] = job["gradients"].format(side=side)
                prepared.append(one)
            listed = Path(folder) / "jobs.json"
            listed.write_text(json.dumps(prepared))
            done = subprocess.run(
                [str(PEERS) if side == "theirs" else sys.executable, "-m", f"peers.{side}", str(listed)],
                cwd=ROOT,
                env={**os.environ, **(LIBRARIES if side == "ours" else {}), **self._environment(folder)},
                capture_output=not self._verbose,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"peers.{side} failed:\n{(done.stderr or '')[-3000:]}")
            return [json.loads(Path(one["out"]).read_text()) for one in prepared]

    def _environment(self, folder: str) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{ROOT / 'benchmarks'}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": str(self._threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            # TRL keeps its reference pass in the cache of datasets: a run that found the last one's would not count it.
            "HF_HOME": folder,
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }


def interleaved(
    workers: Workers, variants: Mapping[str, tuple[str, dict[str, Any]]], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """`rounds` runs of every variant (side and job), A B C A B C, a process each; the first must be ours.

    The rows of every step, as the first run planned them, are what the other sides train on.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (side, job) in variants.items():
            result = workers.run(side, [job])[0]
            if side == "ours" and "plan" in job and not Path(job["plan"]).exists():
                Path(job["plan"]).write_text(json.dumps(result))
            found[name].append(result)
            shown = result.get("missing") or f"{result['seconds']:.2f} s"
            print(f"    {name}: {shown}", file=sys.stderr, flush=True)
    return found


def median(results: Sequence[Mapping[str, Any]], name: str) -> float:
    """The median of one figure over the runs."""
    return statistics.median(result[name] for result in results)
