"""What can be drawn of a run: one figure per cell, by name, with its unit and which way is good."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.errors import UsageError
from tools.load.runs import Cell, Run
from tools.load.summary import CellSummary


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a cell."""

    name: str
    title: str
    unit: str
    of: Callable[[CellSummary], float | None]
    more_is_better: bool


def _times(name: str, part: str) -> Callable[[CellSummary], float | None]:
    def of(summary: CellSummary) -> float | None:
        found = getattr(summary, name)
        value = None if found is None else float(getattr(found, part))
        return None if value is None or math.isnan(value) else value

    return of


FIGURES: tuple[Figure, ...] = (
    Figure("throughput", "output tokens", "tokens/s", lambda s: s.output_tokens_per_s, True),
    Figure("requests", "requests", "requests/s", lambda s: s.requests_per_s, True),
    Figure("ttft", "time to first token, p50", "ms", _times("ttft", "p50"), False),
    Figure("ttft-p95", "time to first token, p95", "ms", _times("ttft", "p95"), False),
    Figure("tpot", "time per output token, p50", "ms", _times("tpot", "p50"), False),
    Figure("e2e", "whole request, mean", "ms", _times("e2e", "mean"), False),
    Figure("e2e-p95", "whole request, p95", "ms", _times("e2e", "p95"), False),
    Figure("goodput", "requests inside the SLO", "share", lambda s: s.goodput_share, True),
    Figure("success", "requests that succeeded", "share", lambda s: s.success_rate, True),
)  # fmt: skip


def figure(name: str) -> Figure:
    """Return a figure by name; raises UsageError."""
    for one in FIGURES:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in FIGURES)
    raise UsageError(f"There is no figure {name!r}.", fix=f"There are: {names}.")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: points (x, y) with a name; ``hollow`` are points that can't be trusted."""

    name: str
    points: tuple[tuple[float, float], ...]
    hollow: tuple[tuple[float, float], ...] = ()


def load_of(cell: Cell) -> float:
    """Return a cell's load: concurrency, or requests a second."""
    return float(cell.rate or cell.concurrency or 0)


def curves(
    run: Run,
    across: Callable[[Cell, CellSummary], float | None],
    up: Callable[[Cell, CellSummary], float | None],
) -> list[Line]:
    """Return a curve for each pair of lengths, its repeats averaged, light load first."""
    groups: dict[tuple[int | None, int | None], dict[float, list[Cell]]] = {}
    for cell in run.measured:
        groups.setdefault((cell.input, cell.output), {}).setdefault(load_of(cell), []).append(cell)
    found = []
    for (size, output), loads in sorted(groups.items(), key=lambda item: _by_size(item[0])):
        points, hollow = [], []
        for load in sorted(loads):
            pairs = [
                (x, y)
                for cell in loads[load]
                if cell.summary is not None
                and (x := across(cell, cell.summary)) is not None
                and (y := up(cell, cell.summary)) is not None
            ]
            if not pairs:
                continue
            point = (_mean([x for x, _ in pairs]), _mean([y for _, y in pairs]))
            points.append(point)
            if any(cell.summary and cell.summary.invalid for cell in loads[load]):
                hollow.append(point)
        if points:
            name = f"{size or 'file'}→{output if output is not None else '?'} tokens"
            found.append(Line(name, tuple(points), tuple(hollow)))
    return found


def usd_per_million(run: Run, summary: CellSummary) -> float | None:
    """Return dollars per million output tokens at the run's price; None without price or tokens."""
    price = run.get("usd_per_hour")
    if not isinstance(price, int | float) or summary.output_tokens_per_s <= 0:
        return None
    return float(price) / 3600 / summary.output_tokens_per_s * 1e6


def _by_size(key: tuple[int | None, int | None]) -> tuple[int, int]:
    return key[0] or 0, key[1] or 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
