"""Line charts as SVG, drawn on the server: no script, printable, and testable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 8, 38
# Of the height, for the names of the lines where there are several.
LEGEND = 16
TEXT = 12
# Of a label left of the axis: more find no room there.
MOST_DECIMALS = 5
MOST_POINTS = 300
# A series of at least so many points is noise from batch to batch: its running mean is drawn over it.
NOISY = 20
WINDOW = 10
# Told apart without colour too; a solid line first.
DASHES = ("none", "6 3", "2 3", "8 3 2 3")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One named series; `points` are (x, y), x ascending."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Axes:
    """Where a value lies on the paper."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: float) -> float:
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        return HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Sequence[Point]) -> str:
        return " ".join(f"{self.across(x):.1f},{self.down(y):.1f}" for x, y in points)


def line_chart(title: str, lines: Sequence[Line], *, x_name: str = "step") -> SafeString:
    """An SVG figure with axes, up to four lines told apart by colour and dash, and a text alternative.

    A line without points is left out; the others look as they do beside it in another chart.
    """
    drawn = [(n, line) for n, line in enumerate(lines, 1) if line.points]
    xs = [x for _, line in drawn for x, _ in line.points] or [0.0, 1.0]
    ys = [y for _, line in drawn for _, y in line.points if math.isfinite(y)] or [0.0, 1.0]
    ticks = nice_ticks(min(ys), max(ys))
    axes = Axes(x=_range(xs), y=(ticks[0], ticks[-1]))
    paths = format_html_join("", "{}", ((_series(axes, line, n),) for n, line in drawn))
    last = "; ".join(f"{line.name} last {_number(line.points[-1][1])}" for _, line in drawn) or "no points yet"
    height = HEIGHT if len(drawn) > 1 else HEIGHT - LEGEND
    return format_html(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}: {}" font-size="{}">{}{}{}{}</svg>',
        WIDTH, height, title, last, TEXT, _grid(axes, ticks), _x_axis(axes, x_name), paths, _legend(drawn),
    )  # fmt: skip


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round values, evenly spaced, the first at most `low` and the last at least `high`."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = first - 1, last + 1
    return [n * step for n in range(first, last + 1)]


def running_mean(points: Sequence[Point], window: int = WINDOW) -> list[Point]:
    """The mean of the last `window` values at each point."""
    ys = [y for _, y in points]
    return [(x, sum(ys[max(0, n - window + 1) : n + 1]) / min(n + 1, window)) for n, (x, _) in enumerate(points)]


def _series(axes: Axes, line: Line, number: int) -> SafeString:
    points = [(x, y) for x, y in line.points if math.isfinite(y)]
    if len(points) < NOISY:
        return _polyline(axes, line.name, points, number, strong=True)
    return format_html(
        "{}{}",
        _polyline(axes, line.name, points, number, strong=False),
        _polyline(axes, f"{line.name}, mean of {WINDOW}", running_mean(points), number, strong=True),
    )


def _polyline(axes: Axes, name: str, points: Sequence[Point], number: int, *, strong: bool) -> SafeString:
    return format_html(
        '<polyline class="series-{}" fill="none" stroke="currentColor" stroke-width="{}" stroke-opacity="{}" '
        'stroke-dasharray="{}" stroke-linejoin="round" points="{}"><title>{}</title></polyline>',
        number, "2" if strong else "1", "1" if strong else "0.35", DASHES[number - 1], axes.path(_thin(points)), name,
    )  # fmt: skip


def _grid(axes: Axes, ticks: Sequence[float]) -> SafeString:
    rows = zip(_labels(ticks), (round(axes.down(tick), 1) for tick in ticks), strict=True)
    return format_html_join(
        "",
        '<line stroke="currentColor" stroke-opacity="0.18" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text fill="currentColor" text-anchor="end" x="{}" y="{}">{}</text>',
        ((LEFT, WIDTH - RIGHT, y, y, LEFT - 6, round(y + 4, 1), label) for label, y in rows),
    )


def _labels(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many decimals as tell them apart, as far as there is room."""
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return [_number(tick) if decimals > MOST_DECIMALS else f"{tick:,.{decimals}f}" for tick in ticks]


def _x_axis(axes: Axes, name: str) -> SafeString:
    y = HEIGHT - BOTTOM + 15
    return format_html(
        '<text fill="currentColor" x="{}" y="{}">{}</text>'
        '<text fill="currentColor" text-anchor="end" x="{}" y="{}">{} {}</text>',
        LEFT, y, _number(axes.x[0]), WIDTH - RIGHT, y, name, _number(axes.x[1]),
    )  # fmt: skip


def _legend(lines: Sequence[tuple[int, Line]]) -> SafeString:
    """Names of the numbered lines with a piece of each, when there is more than one to tell apart."""
    if len(lines) < 2:
        return SafeString("")
    y = HEIGHT - 6
    return format_html_join(
        "",
        '<g class="series-{}"><line stroke="currentColor" stroke-width="2" stroke-dasharray="{}" x1="{}" x2="{}" '
        'y1="{}" y2="{}"/><text fill="currentColor" x="{}" y="{}">{}</text></g>',
        (
            (n, DASHES[n - 1], x, x + 22, y - 4, y - 4, x + 28, y, line.name)
            for place, (n, line) in enumerate(lines)
            for x in [LEFT + (WIDTH - LEFT - RIGHT) * place // len(lines)]
        ),
    )


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    """At most about MOST_POINTS, always with the last one."""
    stride = max(1, math.ceil(len(points) / MOST_POINTS))
    return [*points[:-1:stride], *points[-1:]]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    """Short, with thousands in full: 0.35, 0, 1,200."""
    if abs(value) >= 1000 and math.isfinite(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) > 1e-12 else "0"
