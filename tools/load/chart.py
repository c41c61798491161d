"""A line chart as SVG, drawn by hand so that a report needs nothing but a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tools.load.figures import Line

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 16, 52
# Distinguished by shape as well as by colour; colours are CSS classes, for light and dark.
MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar")
MAX_LINES = len(MARKS)


def line_chart(
    title: str,
    x_title: str,
    y_title: str,
    lines: Sequence[Line],
    *,
    log_x: bool = False,
    y_max: float | None = None,
) -> str:
    """Return an SVG of at most six curves; a hollow mark is a point that can't be trusted."""
    shown = [line for line in lines[:MAX_LINES] if line.points]
    xs = [x for line in shown for x, _ in line.points]
    ys = [y for line in shown for _, y in line.points]
    if not xs:
        return ""
    logarithmic = log_x and min(xs) > 0 and max(xs) > min(xs)
    x_low, x_high = (min(xs), max(xs)) if logarithmic else (0.0, max(xs) or 1.0)
    y_high = y_max if y_max is not None else (max(ys) or 1.0) * 1.05

    def place_x(value: float) -> float:
        share = (
            math.log(value / x_low) / math.log(x_high / x_low)
            if logarithmic
            else (value - x_low) / ((x_high - x_low) or 1)
        )
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def place_y(value: float) -> float:
        return TOP + (1 - min(value / y_high, 1.0)) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for value in ticks(0.0, y_high):
        y = place_y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    marks = sorted(set(xs)) if logarithmic else ticks(x_low, x_high)
    for value in thinned(marks, place_x):
        x = place_x(value)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{short(value)}</text>"
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" '
        f'text-anchor="middle">{escape(x_title)}</text>'
        f'<text class="axis" transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_title)}</text>'
    )
    for number, line in enumerate(shown):
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        for x, y in line.points:
            kind = "mark hollow" if (x, y) in line.hollow else "mark"
            note = f"{line.name}: {short(x)} {x_title}, {short(y)} {y_title}"
            parts.append(
                f'<path class="{kind} s{number}" d="{_mark(number, place_x(x), place_y(y))}">'
                f"<title>{escape(note)}</title></path>"
            )
    return "".join([*parts, "</svg>", _legend(shown, len(lines) - len(shown))])


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers from low to high, about five."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(values: Sequence[float], place: object, room: float = 44.0) -> list[float]:
    """Return the values whose labels do not touch each other."""
    assert callable(place)  # noqa: S101 - a function of the chart
    found: list[float] = []
    last = -math.inf
    for value in values:
        at = place(value)
        if at - last >= room:
            found.append(value)
            last = at
    return found


def short(value: float) -> str:
    """Return a number in few characters."""
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}"


def _mark(number: int, x: float, y: float) -> str:
    r = 4.5
    match MARKS[number % len(MARKS)]:
        case "circle":
            return f"M{x - r:.1f},{y:.1f}a{r},{r} 0 1 0 {2 * r},0a{r},{r} 0 1 0 {-2 * r},0z"
        case "square":
            return f"M{x - r:.1f},{y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"
        case "triangle":
            return f"M{x:.1f},{y - r:.1f}l{r},{2 * r}h{-2 * r}z"
        case "diamond":
            d = r * 1.2
            return f"M{x:.1f},{y - d:.1f}l{d},{d}l{-d},{d}l{-d},{-d}z"
        case "cross":
            return f"M{x - r:.1f},{y - r:.1f}l{2 * r},{2 * r}m0,{-2 * r}l{-2 * r},{2 * r}z"
        case _:
            return f"M{x - 2:.1f},{y - r:.1f}h4v{2 * r}h-4z"


def _legend(lines: Sequence[Line], left_out: int) -> str:
    items = [
        f'<li><svg class="key" viewBox="0 0 16 12" aria-hidden="true">'
        f'<path class="mark s{number}" d="{_mark(number, 8, 6)}"/></svg>{escape(line.name)}</li>'
        for number, line in enumerate(lines)
    ]
    if left_out > 0:
        items.append(f"<li>{left_out} more in the table</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'
