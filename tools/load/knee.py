"""Find where more load stops helping, and the highest rate that keeps a service-level objective."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tools.load.summary import CellSummary

FLAT = 0.05  # a doubling of the load that brings less throughput than this brings none
NEAR = 0.95  # of the highest throughput


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One measured load: requests a second, and mean seconds of a request."""

    load: float  # concurrency, or rate
    throughput: float
    latency: float
    good_share: float | None = None


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the curve bends.

    ``concurrency`` is where the two asymptotic bounds of a closed system meet, the highest
    throughput times the latency without load: below it requests wait for nothing but their own
    service, above it they wait for each other (Lazowska, Zahorjan, Graham and Sevcik,
    Quantitative System Performance, 1984, section 5.2). ``reached`` is the lightest measured load
    with 95 % of the highest throughput. ``saturated`` False: throughput still rose at the end, so
    the true knee may lie higher.
    """

    concurrency: float
    reached: float
    throughput: float
    latency: float
    saturated: bool
    points: tuple[LoadPoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def knee_of(points: Sequence[LoadPoint]) -> Knee | None:
    """Return the knee of a curve, None with fewer than two points that served anything."""
    served = sorted((p for p in points if p.throughput > 0 and p.latency > 0), key=lambda p: p.load)
    if len(served) < 2:
        return None
    best = max(served, key=lambda point: point.throughput)
    lightest = served[0]
    last, before = served[-1], served[-2]
    growth = last.throughput / before.throughput - 1
    return Knee(
        concurrency=best.throughput * lightest.latency,
        reached=next(p.load for p in served if p.throughput >= NEAR * best.throughput),
        throughput=best.throughput,
        latency=lightest.latency,
        saturated=growth < FLAT,
        points=tuple(served),
    )


async def find_knee(
    measure: Callable[[int], Awaitable[CellSummary | None]], *, most: int = 512
) -> Knee | None:
    """Double the concurrency until throughput no longer rises, then measure at the knee itself.

    ``measure`` returns None when the search was stopped.
    """
    points: list[LoadPoint] = []
    level = 1
    while level <= most:
        point = _point(level, await measure(level))
        if point is None:
            return knee_of(points)
        points.append(point)
        if len(points) > 1 and point.throughput < points[-2].throughput * (1 + FLAT):
            break
        level *= 2
    found = knee_of(points)
    if found is None:
        return None
    at = max(1, round(found.concurrency))
    if all(point.load != at for point in points) and at <= most:
        point = _point(at, await measure(at))
        if point is not None:
            # In order of load the last two points are still those that showed the bend.
            points.append(point)
    return knee_of(points)


@dataclass(frozen=True, slots=True)
class BestRate:
    """The highest rate that kept the objective, and the lowest that did not (None: none did)."""

    rate: float  # requests a second; 0: not even the first rate kept it
    broken_at: float | None
    share: float  # of the attempted requests that had to be good
    points: tuple[LoadPoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


async def find_best_rate(
    measure: Callable[[float], Awaitable[CellSummary | None]],
    *,
    start: float = 1.0,
    most: float = 10_000.0,
    share: float = 0.99,
    tolerance: float = 0.05,
) -> BestRate:
    """Double the rate until the objective breaks, then halve the interval down to ``tolerance``.

    A rate keeps the objective when at least ``share`` of the requests that were due were good.
    """
    points: list[LoadPoint] = []
    low, high = 0.0, 0.0
    rate = start
    while True:
        point = _point(rate, await measure(rate))
        if point is None:
            break
        points.append(point)
        if (point.good_share or 0.0) >= share:
            low = rate
            if high == 0.0 and rate >= most:
                break
        else:
            high = rate
        if not low and high <= start / 16:
            break
        if high and low and high <= low * (1 + tolerance):
            break
        rate = (low + high) / 2 if low and high else high / 2 if high else min(rate * 2, most)
    ordered = tuple(sorted(points, key=lambda p: p.load))
    return BestRate(low, high or None, share, ordered)


def _point(load: float, summary: CellSummary | None) -> LoadPoint | None:
    if summary is None:
        return None
    latency = summary.e2e.mean / 1000 if summary.e2e else 0.0
    return LoadPoint(load, summary.requests_per_s, latency, summary.goodput_share)
