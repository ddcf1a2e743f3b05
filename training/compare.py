"""Several training runs side by side: how their figures went, what came of them, and in what they differ."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from training.access import is_id
from training.charts import DASHES, Line, line_chart
from training.models import Run
from training.progress import Chart, read_metrics

FEWEST, MOST = 2, len(DASHES)

# Title, a line below it, and the engine's name of the figure, with its sign.
FIGURES = (
    ("Loss", "Comparable between runs of the same method and settings only.", "loss", 1),
    ("Accuracy", "Share of the step’s comparisons that the model puts right.", "accuracy", 1),
    ("Margin", "Reward of the chosen less that of the rejected.", "margin", 1),
    ("Chosen, moved from the reference", "Nats per token.", "chosen_shift", 1),
    ("Chosen log-probability", "Nats per token.", "chosen_nll", -1),
    ("Distance from the reference", "KL, nats per token.", "kl", 1),
    ("Gradient norm", "Before it is clipped.", "grad_norm", 1),
    ("Tokens per second", "Padding is not counted.", "tokens_per_second", 1),
)


def chosen_runs(runs: QuerySet[Run], wanted: Sequence[str]) -> list[Run]:
    """The training runs that an address names, oldest first, at most MOST; others and nonsense are passed over."""
    ids = {int(one) for one in wanted if is_id(one)}
    return list(runs.filter(pk__in=ids, task=Run.Task.TRAIN).order_by("pk")[:MOST])


def compare_charts(runs: Sequence[Run]) -> list[Chart]:
    """For each figure that at least two of the runs have, one chart with a line for each run."""
    courses = [(f"run {run.pk}", read_metrics(run)) for run in runs]
    charts = []
    for title, note, name, sign in FIGURES:
        lines = [
            Line(label, [(p["step"], sign * p["metrics"][name]) for p in points if name in p["metrics"]])
            for label, points in courses
        ]
        if sum(len(line.points) > 1 for line in lines) >= FEWEST:
            charts.append(Chart(title, note, line_chart(title, lines)))
    return charts


def measured(runs: Sequence[Run]) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each held-out split that a run has, its figures run by run; {} where a run has none."""
    evaluations = [(run.result or {}).get("eval", {}) for run in runs]
    splits = dict.fromkeys(split for figures in evaluations for split in figures)
    return [(split, [figures.get(split, {}) for figures in evaluations]) for split in splits]


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[Any]]]:
    """The settings that are not the same in all runs: name, and the value of each; None where a run has no such."""
    names = dict.fromkeys(name for run in runs for name in run.config)
    rows = [(name, [run.config.get(name) for run in runs]) for name in names]
    return [(name.replace("_", " "), values) for name, values in rows if any(one != values[0] for one in values)]
