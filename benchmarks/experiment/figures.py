"""What the experiment shows: a figure of small charts for every family, and a table."""

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from training.charts import nice_ticks

COLUMNS, CELL, CHART = 4, (180, 112), (136, 62)
LEFT, TOP = 38, 26
# An image in a page has no colour of its surroundings: it follows the reader's own scheme.
STYLE = (
    "svg{color:#1f2328;font:11px system-ui,sans-serif}text{fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3}}"
)


def family_chart(title: str, runs: Mapping[str, Sequence[Mapping[str, float]]], measure: str) -> str:
    """An SVG of one small chart per method, the family's other curves faint behind it, all on one scale."""
    values = [point[measure] for curve in runs.values() for point in curve]
    ticks = nice_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    width = COLUMNS * CELL[0]
    height = -(-len(runs) // COLUMNS) * CELL[1] + 8

    def line(curve: Sequence[Mapping[str, float]], style: str) -> str:
        at = (
            f"{point['share'] * CHART[0]:.1f},{CHART[1] * (1 - (point[measure] - low) / (high - low)):.1f}"
            for point in curve
        )
        return f'<polyline fill="none" stroke="currentColor" {style} points="{" ".join(at)}"/>'

    # Drawn once and used in every cell: the curves of a large family would otherwise stand in the file squared.
    faint = "".join(line(curve, 'stroke-width="1" stroke-opacity="0.15"') for curve in runs.values())
    grid = "".join(
        f'<line stroke="currentColor" stroke-opacity="0.18" x2="{CHART[0]}" y1="{y}" y2="{y}"/>'
        f'<text x="-5" y="{y + 4}" text-anchor="end" font-size="9">{tick:.3g}</text>'
        for tick, y in ((tick, round(CHART[1] * (1 - (tick - low) / (high - low)), 1)) for tick in (low, high))
    )
    cells = []
    for number, (name, curve) in enumerate(runs.items()):
        x, y = number % COLUMNS * CELL[0] + LEFT, number // COLUMNS * CELL[1] + TOP
        last, strong = curve[-1][measure], line(curve, 'stroke-width="2"')
        cells.append(
            f'<g transform="translate({x} {y})"><text y="-9" font-size="10" font-weight="600">{escape(name)}</text>'
            f'<text x="{CHART[0]}" y="-9" font-size="10" text-anchor="end">{last:.2f}</text>'
            f'<use href="#all"/>{strong}</g>'
        )
    spoken = "; ".join(f"{name} {curve[-1][measure]:.2f}" for name, curve in runs.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}: {escape(spoken)}"><style>{STYLE}</style>'
        f'<defs><g id="all">{grid}{faint}</g></defs>{"".join(cells)}</svg>\n'
    )


def policy_table(starts: Sequence[Mapping[str, float]], runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, best reward first."""
    start = {name: statistics.fmean(one[name] for one in starts) for name in starts[0]}
    lines = [
        "| method | learning rate | known reward | gain | KL to the start | NLL of good answers | words |",
        "|---|---|---|---|---|---|---|",
        f"| start | | {start['reward']:.2f} | | 0 | {start['nll']:.3f} | {start['words']:.0f} |",
    ]
    for run in sorted(runs, key=lambda run: -run["curve"][-1]["reward"]):
        last = run["curve"][-1]
        settings = "".join(f", `{name}` {value}" for name, value in run["settings"].items())
        gains = [one["reward"] - before["reward"] for one, before in zip(run["worlds"], starts, strict=True)]
        gain = _mean(gains, "+.2f")
        lines.append(
            f"| `{run['method']}`{settings} | {run['learning_rate']:g} | {last['reward']:.2f} | {gain} | "
            f"{last['kl']:.1f} | {last['nll']:.3f} | {last['words']:.0f} |"
        )
    return "\n".join(lines)


def too_far(method: str, run: Mapping[str, Any]) -> str:
    """What a learning rate came to that was not chosen because its policy left the start too far behind."""
    last = run["curve"][-1]
    return (
        f"Left out: `{method}` at {run['learning_rate']:g}, reward {last['reward']:.2f}, KL {last['kl']:.0f}, "
        f"NLL of good answers {last['nll']:.2f}."
    )


def reward_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, best accuracy first."""
    lines = ["| method | learning rate | accuracy | Kendall τ |", "|---|---|---|---|"]
    for run in sorted(runs, key=lambda run: -run["curve"][-1]["accuracy"]):
        accuracy, tau = ([one[name] for one in run["worlds"]] for name in ("accuracy", "tau"))
        lines.append(
            f"| `{run['method']}` | {run['learning_rate']:g} | {_mean(accuracy, '.3f')} | {_mean(tau, '.2f')} |"
        )
    return "\n".join(lines)


def _mean(values: Sequence[float], form: str) -> str:
    """Mean ± standard error; of one value, which has none, the value alone."""
    mean = f"{statistics.fmean(values):{form}}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:{form.lstrip('+')}}"
