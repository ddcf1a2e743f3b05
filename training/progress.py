"""Reading what a running engine says in `progress.jsonl`."""

import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from django.utils.safestring import SafeString

from training.charts import Line, line_chart
from training.engine.diagnostics import displacement, displacement_message
from training.models import Run
from training.paths import run_output

# Title, a line below it, and what is drawn: the engine's name of a figure, its name for people, and its sign.
CHARTS: tuple[tuple[str, str, tuple[tuple[str, str, int], ...]], ...] = (
    ("Loss", "Mean over the examples of a step.", (("loss", "loss", 1),)),
    ("Accuracy", "Share of the step’s comparisons that the model puts right.", (("accuracy", "accuracy", 1),)),
    (
        "Rewards",
        "What the method calls a reward, of either side.",
        (("chosen_reward", "chosen", 1), ("rejected_reward", "rejected", 1), ("margin", "margin", 1)),
    ),
    (
        "Moved from the reference",
        "Nats per token. The distance is KL(reference ‖ policy) on the data’s completions, not on the policy’s own.",
        (("chosen_shift", "chosen", 1), ("rejected_shift", "rejected", 1), ("kl", "distance", 1)),
    ),
    ("Log-probability", "Nats per token.", (("chosen_nll", "chosen", -1), ("rejected_nll", "rejected", -1))),
    ("Gradient norm", "Before it is clipped.", (("grad_norm", "gradient norm", 1),)),
    ("Tokens per second", "Padding is not counted.", (("tokens_per_second", "tokens per second", 1),)),
)
# Says the same as the other, without what differs from batch to batch.
INSTEAD = {"Log-probability": "Moved from the reference"}
# What is left is judged by so many of the last lines, and not before there are a few.
PACE_LINES, FEWEST_LINES = 30, 5


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    note: str
    svg: SafeString


@dataclass(frozen=True, slots=True)
class Course:
    """How a run goes: its charts, a warning or "", and the mean share of padding in its batches, or None."""

    charts: list[Chart]
    hint: str
    padding: float | None


@dataclass
class Pace:
    """How long a run still takes, as its last lines went."""

    last: tuple[datetime, float] | None = None
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=PACE_LINES))

    def add(self, line: dict[str, Any]) -> None:
        """Take in one line of `progress.jsonl`: its time, and the share of the run that is done."""
        now = datetime.fromisoformat(line["time"]), float(line["fraction"])
        if self.last is not None and now[1] > self.last[1]:
            self.rates.append((now[0] - self.last[0]).total_seconds() / (now[1] - self.last[1]))
        self.last = now

    def left(self) -> str:
        """In words, or "" while it cannot be known. The median passes over the pause between two attempts."""
        if self.last is None or self.last[1] >= 1 or len(self.rates) < FEWEST_LINES:
            return ""
        minutes = median(self.rates) * (1 - self.last[1]) / 60
        if minutes < 1:
            return "less than a minute left"
        amount, unit = (round(minutes), "minute") if minutes < 90 else (round(minutes / 60), "hour")
        return f"about {amount} {unit}{'' if amount == 1 else 's'} left"


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


def read_course(run: Run) -> Course:
    """Everything that the figures of a run's steps say so far."""
    points = read_metrics(run)
    steps = [point["metrics"] for point in points]
    fall = displacement(steps)
    padding = [metrics["padding"] for metrics in steps if "padding" in metrics]
    return Course(
        charts=draw_charts(points),
        hint=displacement_message(fall) if fall is not None else "",
        padding=fmean(padding) if padding else None,
    )


def draw_charts(points: list[dict[str, Any]]) -> list[Chart]:
    """A chart for each group of figures that a run has; at most six, because one stands for another."""
    charts: list[Chart] = []
    for title, note, names in CHARTS:
        lines = [
            Line(label, [(p["step"], sign * p["metrics"][name]) for p in points if name in p["metrics"]])
            for name, label, sign in names
        ]
        known = INSTEAD.get(title) in [chart.title for chart in charts]
        if not known and any(len(line.points) > 1 for line in lines):  # one point makes no curve
            charts.append(Chart(title, note, line_chart(title, lines)))
    return charts
