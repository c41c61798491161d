"""One cell of a sweep: a load with warm-up, window and cool-down, and what came of it.

Warm-up and cool-down carry the same load as the window, and count for nothing: a request counts
when it was due inside the window, however long it takes to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import monotonic_ns
from typing import Any

from tools.load.client import Patience
from tools.load.driver import Bodies, ClosedLoop, LoopDriver, OpenLoop
from tools.load.endpoint import LoadTarget
from tools.load.records import NS, Records
from tools.load.schedule import Arrivals

PROGRESS = 0.2  # seconds
MAX_SKIPPED = 3  # looks at silent streams that a late loop may leave out in a row


@dataclass(frozen=True, slots=True)
class CellPlan:
    """What a cell runs. ``slots`` is the concurrency, or the most in flight of an open loop.

    ``requests`` ends the cell after so many; else ``warmup`` and ``window`` seconds do.
    """

    slots: int
    window: float = 10.0
    warmup: float = 2.0
    requests: int | None = None
    arrivals: Arrivals | None = None
    seed: int = 0
    patience: Patience = field(default_factory=Patience)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> CellPlan:
        """Return the plan of ``to_json``."""
        arrivals = told.get("arrivals")
        return cls(
            **{
                **told,
                "arrivals": Arrivals(**arrivals) if arrivals else None,
                "patience": Patience(**told["patience"]),
            }
        )


@dataclass(slots=True)
class CellRun:
    """What a cell brought. ``cpu`` is the share of one core that the busiest client took."""

    records: Records
    start: int  # monotonic ns
    end: int
    cpu: float
    processes: int = 1
    stopped: bool = False
    late: float = 0.0  # seconds, the longest that the event loop was behind its own timer
    clock_jump: float = 0.0  # seconds that the wall clock moved against the monotonic one

    @property
    def seconds(self) -> float:
        """Return the length of the window."""
        return max((self.end - self.start) / NS, 1e-9)


@dataclass(frozen=True, slots=True)
class Part:
    """Which share of a cell one process runs, and when all of them begin."""

    number: int = 0
    of: int = 1
    slots: int = 0  # 0: all
    start_at: int = 0  # monotonic ns; 0: now


def make_driver(target: LoadTarget, bodies: Bodies, plan: CellPlan, part: Part) -> LoopDriver:
    """Return what drives one process's share of a cell."""
    limit = None
    if plan.requests is not None:
        limit = plan.requests // part.of + (part.number < plan.requests % part.of)
    slots = part.slots or plan.slots
    if plan.arrivals is None:
        return ClosedLoop(
            target,
            bodies,
            slots,
            patience=plan.patience,
            first=part.number,
            step=part.of,
            limit=limit,
        )
    return OpenLoop(
        target,
        bodies,
        slots,
        plan.arrivals.offsets(plan.seed, part=part.number, parts=part.of),
        patience=plan.patience,
        first=part.number,
        step=part.of,
        limit=limit,
    )


async def run_cell(
    target: LoadTarget,
    bodies: Bodies,
    plan: CellPlan,
    *,
    part: Part | None = None,
    stop: asyncio.Event | None = None,
    progress: Callable[[LoopDriver], None] | None = None,
) -> CellRun:
    """Run one process's share of a cell on the running event loop.

    When ``stop`` is set the run ends at once, with what was measured so far.
    """
    part = part or Part()
    stop = stop or asyncio.Event()
    driver = make_driver(target, bodies, plan, part)
    await asyncio.sleep(max(0.0, (part.start_at - monotonic_ns()) / NS))
    wall = time.time_ns() - monotonic_ns()
    begin = part.start_at or monotonic_ns()
    counted = plan.requests is not None
    driver.window_start = begin if counted else begin + int(plan.warmup * NS)
    if not counted:
        driver.window_end = driver.window_start + int(plan.window * NS)
    watch = _Watch(driver, progress)
    driver.start()
    watcher = asyncio.create_task(watch.run())
    try:
        if counted:
            cpu = time.process_time_ns()
            await _first(driver.drained.wait(), stop.wait())
            end = max(driver.records.done, default=monotonic_ns())
            cpu = time.process_time_ns() - cpu
        else:
            await _until(driver.window_start, stop)
            cpu = time.process_time_ns()
            await _until(driver.window_end, stop)
            end = min(driver.window_end, monotonic_ns())
            cpu = time.process_time_ns() - cpu
            if not stop.is_set():
                driver.end_window()
                await _first(driver.drained.wait(), stop.wait())
    finally:
        driver.stop()
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
    return CellRun(
        records=driver.records,
        start=driver.window_start,
        end=end,
        cpu=cpu / max(end - driver.window_start, 1),
        stopped=stop.is_set(),
        late=watch.late,
        clock_jump=(time.time_ns() - monotonic_ns() - wall) / NS,
    )


class _Watch:
    """Give up what waits for too long, tell of progress, and note how late the loop is."""

    def __init__(self, driver: LoopDriver, progress: Callable[[LoopDriver], None] | None) -> None:
        self._driver = driver
        self._progress = progress
        self.late = 0.0

    async def run(self) -> None:
        patience = self._driver.patience
        shortest = min(patience.first_byte, patience.stall, patience.total)
        tick = min(max(shortest / 10, 0.01), PROGRESS)
        told = monotonic_ns()
        skipped = 0
        while True:
            before = monotonic_ns()
            await asyncio.sleep(tick)
            now = monotonic_ns()
            late = (now - before) / NS - tick
            self.late = max(self.late, late)
            # After a pause of our own, what has come meanwhile is read before it is judged.
            skipped = 0 if late < tick or skipped == MAX_SKIPPED else skipped + 1
            if not skipped:
                self._driver.check()
            if self._progress is not None and (now - told) / NS >= PROGRESS:
                told = now
                self._progress(self._driver)


async def _until(when: int, stop: asyncio.Event) -> None:
    left = (when - monotonic_ns()) / NS
    if left > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), left)


async def _first(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
