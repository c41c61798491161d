"""The client's processes: at most 512 streams each, away from the screen's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any

from tools.errors import GemmaSreError
from tools.load.cell import CellPlan, CellRun, Part
from tools.load.endpoint import LoadTarget
from tools.load.records import Records
from tools.load.slots import split_slots
from tools.load.worker import read_frame, write_frame

LEAD = 50_000_000  # ns between the order to begin and the common begin


class ClientLost(GemmaSreError):
    """A client process ended while it was needed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a cell is: requests that ended, of them failures, and requests in flight."""

    ended: int
    failed: int
    in_flight: int


class ClientProcesses:
    """Client processes that run one cell after the other; an async context manager."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pid = 0
        self._process: asyncio.subprocess.Process | None = None
        self._pipes: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._running = False

    async def __aenter__(self) -> ClientProcesses:
        pairs = [socket.socketpair() for _ in range(self.count)]
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tools.load.worker",
                *(str(theirs.fileno()) for _, theirs in pairs),
                pass_fds=[theirs.fileno() for _, theirs in pairs],
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches us, and we tell them
                env=child_environment(),
            )
        finally:
            for _, theirs in pairs:
                theirs.close()
        self.pid = self._process.pid
        for ours, _ in pairs:
            self._pipes.append(await asyncio.open_connection(sock=ours, limit=2**20))
        return self

    async def __aexit__(self, *error: object) -> None:
        for _, writer in self._pipes:
            writer.close()
        for _, writer in self._pipes:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def run(
        self,
        target: LoadTarget,
        prompts: dict[str, Any],
        plan: CellPlan,
        *,
        stop: asyncio.Event | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> CellRun:
        """Run a cell over as many processes as its slots need; raises ClientLost."""
        shares = split_slots(plan.slots)
        if len(shares) > len(self._pipes):
            raise ClientLost(f"{plan.slots} slots need {len(shares)} processes.")
        told = {
            "do": "cell",
            "target": {**asdict(target), "head": target.head.decode("ascii")},
            "prompts": prompts,
            "plan": plan.to_json(),
        }
        latest: list[Progress] = [Progress(0, 0, 0)] * len(shares)
        for number, slots in enumerate(shares):
            part = Part(number, len(shares), slots)
            write_frame(self._pipes[number][1], {**told, "part": asdict(part)})

        def show(number: int, one: Progress) -> None:
            latest[number] = one
            if progress is not None:
                progress(
                    Progress(
                        sum(p.ended for p in latest),
                        sum(p.failed for p in latest),
                        sum(p.in_flight for p in latest),
                    )
                )

        # All begin together, and none before all have built their prompts.
        for number in range(len(shares)):
            await self._next(number, "armed")
        start_at = monotonic_ns() + LEAD
        for _, writer in self._pipes[: len(shares)]:
            write_frame(writer, {"do": "go", "start_at": start_at})
        stopper = asyncio.create_task(self._tell_stop(stop, len(shares)))
        try:
            runs = await asyncio.gather(
                *(self._collect(number, show) for number in range(len(shares)))
            )
        finally:
            stopper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopper
        return merge(runs)

    async def _collect(self, number: int, show: Callable[[int, Progress], None]) -> CellRun:
        while True:
            told, blob = await self._next(number)
            if told.pop("is") == "progress":
                show(number, Progress(**told))
                continue
            write_frame(self._pipes[number][1], {"do": "received"})
            return CellRun(records=Records.unpack(blob), **told)

    async def _next(self, number: int, wanted: str = "") -> tuple[dict[str, Any], bytes]:
        try:
            told, blob = await read_frame(self._pipes[number][0])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ClientLost(
                "A process of the load client ended unexpectedly.",
                fix="The machine may be out of memory; use fewer slots.",
            ) from error
        if wanted and told.get("is") != wanted:
            raise ClientLost(f"A process of the load client is not {wanted}.")
        return told, blob

    async def _tell_stop(self, stop: asyncio.Event | None, count: int) -> None:
        if stop is None:
            return
        await stop.wait()
        for _, writer in self._pipes[:count]:
            write_frame(writer, {"do": "stop"})


def merge(runs: list[CellRun]) -> CellRun:
    """Return the runs of several processes as one; its CPU is the busiest one's."""
    records = runs[0].records
    for other in runs[1:]:
        records.extend(other.records)
    return CellRun(
        records=records,
        start=min(run.start for run in runs),
        end=max(run.end for run in runs),
        cpu=max(run.cpu for run in runs),
        processes=len(runs),
        stopped=any(run.stopped for run in runs),
        late=max(run.late for run in runs),
        clock_jump=max((run.clock_jump for run in runs), key=abs),
    )


def child_environment() -> dict[str, str]:
    """Return an environment in which a child of this very interpreter finds these packages."""
    room = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [room, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
