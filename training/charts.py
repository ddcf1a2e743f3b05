"""Line charts as SVG, drawn on the server: no script, printable, and testable."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
MOST_POINTS = 300
# Told apart without colour too; a solid line first.
DASHES = ("none", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """One named series; `points` are (x, y), x ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, lines: Sequence[Line], *, x_name: str = "step") -> SafeString:
    """An SVG figure with axes, up to four lines told apart by colour and dash, and a text alternative."""
    drawn = [Line(line.name, _thin(line.points)) for line in lines if line.points]
    xs = [x for line in drawn for x, _ in line.points] or [0.0, 1.0]
    ys = [y for line in drawn for _, y in line.points] or [0.0, 1.0]
    x_low, x_high = _range(xs)
    y_low, y_high = _range(ys)

    def place(x: float, y: float) -> str:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    paths = format_html_join(
        "",
        '<polyline class="series-{}" fill="none" stroke="currentColor" stroke-width="1.8" stroke-dasharray="{}" '
        'stroke-linejoin="round" points="{}"><title>{}</title></polyline>',
        (
            (n, DASHES[n - 1], " ".join(place(x, y) for x, y in line.points), line.name)
            for n, line in enumerate(drawn, 1)
        ),
    )
    grid = format_html_join(
        "",
        '<line stroke="currentColor" stroke-opacity="0.15" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text font-size="11" fill="currentColor" text-anchor="end" x="{}" y="{}">{}</text>',
        ((LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, _number(value)) for value, y in _ticks(y_low, y_high)),
    )
    last = "; ".join(f"{line.name} last {_number(line.points[-1][1])}" for line in drawn) or "no points yet"
    return format_html(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}: {}">{}{}{}'
        '<text font-size="11" fill="currentColor" text-anchor="end" x="{}" y="{}">{} {}</text></svg>',
        WIDTH, HEIGHT, title, last, grid, paths, _legend(drawn), WIDTH - RIGHT, HEIGHT - 8, x_name, _number(x_high),
    )  # fmt: skip


def _legend(lines: Sequence[Line]) -> SafeString:
    """Names of the lines, when there is more than one to tell apart."""
    if len(lines) < 2:
        return format_html("")
    return format_html_join(
        "",
        '<text class="series-{}" font-size="11" fill="currentColor" x="{}" y="{}">{}</text>',
        ((n, LEFT + 110 * (n - 1), HEIGHT - 8, line.name) for n, line in enumerate(lines, 1)),
    )


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS, always with the last one."""
    stride = max(1, len(points) // MOST_POINTS)
    return [*points[::stride], points[-1]]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[tuple[float, float]]:
    steps = 4
    values = [low + (high - low) * n / steps for n in range(steps + 1)]
    span = HEIGHT - TOP - BOTTOM
    return [(value, round(HEIGHT - BOTTOM - span * n / steps, 1)) for n, value in enumerate(values)]


def _number(value: float) -> str:
    return f"{value:.3g}"
