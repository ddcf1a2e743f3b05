"""Reading what a running engine says in `progress.jsonl`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.utils.safestring import SafeString

from training.charts import Line, line_chart
from training.models import Run
from training.paths import run_output

# One chart for each group; names as the engine writes them.
CHARTS = (
    ("Loss", ("loss",)),
    ("Accuracy", ("accuracy",)),
    ("Reward margin", ("margin",)),
    ("Log-probability", ("chosen_logp", "rejected_logp")),
    ("Gradient norm", ("grad_norm",)),
    ("Tokens per second", ("tokens_per_second",)),
)


class ProgressReader:
    """Follows a growing `progress.jsonl`; a line that is still being written is read the next time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def new_lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self.offset:
                self.offset = 0  # the engine resumed and cut the steps off that it does again
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                try:
                    yield json.loads(line)
                except ValueError:  # torn by a kill in mid-line; the engine writes the step again
                    continue


def read_metrics(run: Run, *, after: int = -1) -> list[dict[str, Any]]:
    """`{step, metrics}` for every step after this one. A step that was repeated counts once, the last time."""
    steps: dict[int, dict[str, Any]] = {}
    for line in ProgressReader(run_output(run) / "progress.jsonl").new_lines():
        if line.get("metrics") and line["step"] > after:
            steps[line["step"]] = line["metrics"]
    return [{"step": step, "metrics": steps[step]} for step in sorted(steps)]


def draw_curves(run: Run) -> list[tuple[str, SafeString]]:
    """Title and SVG of every chart for which the run has figures."""
    points = read_metrics(run)
    charts = []
    for title, names in CHARTS:
        lines = [
            Line(name.replace("_", " "), [(p["step"], p["metrics"][name]) for p in points if name in p["metrics"]])
            for name in names
        ]
        if any(len(line.points) > 1 for line in lines):  # one point makes no curve
            charts.append((title, line_chart(title, lines)))
    return charts
