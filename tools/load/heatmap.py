"""A run as a table in the terminal: load down, lengths across, shade and number in every cell."""

from __future__ import annotations

from tools.load.figures import Figure, figure, load_of
from tools.load.runs import Cell, Run

_SHADES = " ░▒▓█"
_SHADE_WIDTH = 2


def heatmap(run: Run, name: str = "throughput", *, width: int = 100) -> str:
    """Return the heat-map of one figure as text of at most ``width`` columns where it can be.

    The number stands beside its shade, so nothing is told by shade alone. ``!`` marks a cell that
    is not valid, ``×`` one with failures, ``–`` one that was skipped.
    """
    wanted = figure(name)
    rows = sorted({(load_of(cell), cell.load) for cell in run.cells})
    columns = sorted({(cell.input or 0, cell.output or 0) for cell in run.cells})
    table: dict[tuple[float, int, int], list[Cell]] = {}
    for cell in run.cells:
        key = (load_of(cell), cell.input or 0, cell.output or 0)
        table.setdefault(key, []).append(cell)
    values = {key: _value(cells, wanted) for key, cells in table.items()}
    known = [value for value in values.values() if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    heads = [f"{size or 'file'}→{out or '?'}" for size, out in columns]
    texts = {key: _text(values[key], table[key], wanted, low, high, len(known)) for key in table}
    cell_width = max([*(len(head) for head in heads), *(len(text) for text in texts.values()), 6])
    left = max([len(label) for _, label in rows] + [4])
    fit = max(1, (width - left) // (cell_width + 1))
    lines = [f"{wanted.title} ({wanted.unit}), {run.get('label') or run.get('model') or run.id}"]
    for start in range(0, len(columns), fit):
        part = columns[start : start + fit]
        lines.append(
            " " * left + "".join(f" {head:>{cell_width}}" for head in heads[start : start + fit])
        )
        for load, label in rows:
            found = [texts.get((load, size, out), "") for size, out in part]
            lines.append(f"{label:>{left}}" + "".join(f" {text:>{cell_width}}" for text in found))
    best = "more is better" if wanted.more_is_better else "less is better"
    lines.append(f"{_SHADES[1]} {low:.3g}  …  {_SHADES[4]} {high:.3g}; {best}")
    marks = "".join(texts.values())
    for mark, meaning in (("!", "not valid"), ("×", "with failures"), ("–", "skipped")):
        if mark in marks:
            lines.append(f"{mark} {meaning}")
    return "\n".join(lines)


def _value(cells: list[Cell], wanted: Figure) -> float | None:
    found = [
        value for cell in cells if cell.summary and (value := wanted.of(cell.summary)) is not None
    ]
    return sum(found) / len(found) if found else None


def _text(
    value: float | None, cells: list[Cell], wanted: Figure, low: float, high: float, known: int
) -> str:
    if value is None:
        return "–"
    share = (value - low) / (high - low) if high > low else 1.0 if known else 0.0
    shade = _SHADES[1 + min(3, int(share * 4))]
    mark = ""
    if any(cell.summary and cell.summary.invalid for cell in cells):
        mark = "!"
    elif any(cell.summary and cell.summary.failures for cell in cells):
        mark = "×"
    number = f"{value:.0%}" if wanted.unit == "share" else f"{value:.4g}"
    return f"{mark}{number} {shade * _SHADE_WIDTH}"
