"""Reading what a running engine says in `progress.jsonl`."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
# How long a run still takes is judged by so many of its last lines, and not before some of them went forward.
PACE_LINES, FEWEST_RATES = 30, 5


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    note: str
    svg: SafeString


@dataclass(frozen=True, slots=True)
class Course:
    """How a run goes: its charts, a warning or "", the mean share of padding in its batches or None, and how long it
    still takes, in words, or ""."""

    charts: list[Chart]
    hint: str
    padding: float | None
    left: str


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
    return _points(_lines(run), after=after)


def _lines(run: Run) -> Iterator[dict[str, Any]]:
    return ProgressReader(run_output(run) / "progress.jsonl").new_lines()


def _points(lines: Iterable[dict[str, Any]], *, after: int = -1) -> list[dict[str, Any]]:
    steps = {line["step"]: line["metrics"] for line in lines if line.get("metrics") and line["step"] > after}
    return [{"step": step, "metrics": steps[step]} for step in sorted(steps)]


def time_left(lines: Sequence[dict[str, Any]]) -> str:
    """How long the run of these lines still takes, as the last of them went, in words; "" while that is not known.

    The median passes over the pause between two attempts.
    """
    last = [(datetime.fromisoformat(line["time"]), line["fraction"]) for line in lines[-PACE_LINES:]]
    rates = [
        (now - before).total_seconds() / (done - less)
        for (before, less), (now, done) in itertools.pairwise(last)
        if done > less
    ]
    if len(rates) < FEWEST_RATES or last[-1][1] >= 1:
        return ""
    minutes = median(rates) * (1 - last[-1][1]) / 60
    if minutes < 1:
        return "less than a minute left"
    amount, unit = (round(minutes), "minute") if minutes < 90 else (round(minutes / 60), "hour")
    return f"about {amount} {unit}{'' if amount == 1 else 's'} left"


def read_course(run: Run) -> Course:
    """Everything that the figures of a run's steps say so far."""
    lines = list(_lines(run))
    points = _points(lines)
    steps = [point["metrics"] for point in points]
    fall = displacement(steps)
    padding = [metrics["padding"] for metrics in steps if "padding" in metrics]
    return Course(
        charts=draw_charts(points),
        hint=displacement_message(fall) if fall is not None else "",
        padding=fmean(padding) if padding else None,
        left=time_left([line for line in lines if "time" in line]),
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
