"""What decides when a slot sends its next request: a closed loop or an open one."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic_ns

from tools.load.client import Inbox, Patience, Slot
from tools.load.endpoint import LoadTarget
from tools.load.records import NS, Outcome, Records
from tools.load.stream import Exchange

MAX_CONNECTING = 64
Bodies = Callable[[int], bytes]


class LoopDriver:
    """What both loops share: slots, records, the window, and the end.

    ``first`` and ``step`` number the requests, so that several processes share one sequence.
    ``limit`` bounds how many are sent; None is no bound.
    """

    def __init__(
        self,
        target: LoadTarget,
        bodies: Bodies,
        slots: int,
        *,
        patience: Patience | None = None,
        first: int = 0,
        step: int = 1,
        limit: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.target = target
        self.patience = patience or Patience()
        self.inbox = Inbox()
        self.connecting = asyncio.Semaphore(MAX_CONNECTING)
        self.records = Records()
        self.issuing = False
        self.window_start = 0  # ns; requests scheduled from here to the end are counted
        self.window_end = 0  # ns; 0 while the window is open
        self.drained = asyncio.Event()  # no request of the window is in flight, nor will be
        self.sent = 0
        self._bodies = bodies
        self._next = first
        self._step = step
        self._limit = limit
        self._outstanding = 0
        self._context = context if context is not None else target.ssl_context()
        self._slots = [Slot(self) for _ in range(slots)]

    @property
    def in_flight(self) -> int:
        """Return how many requests are in flight."""
        return sum(1 for slot in self._slots if slot.exchange is not None)

    def start(self) -> None:
        """Open every connection and begin to send."""
        self.issuing = True
        for slot in self._slots:
            slot.open(self._context)

    def check(self) -> None:
        """Give up what waits for too long; to be called every now and then."""
        now = monotonic_ns()
        for slot in self._slots:
            slot.check(now)

    def end_window(self) -> None:
        """Take note that the window is over; ``drained`` is set once all it counts has ended."""
        self._settle()

    def stop(self) -> None:
        """Send nothing more and drop what is in flight."""
        self.issuing = False
        for slot in self._slots:
            slot.close()
        self._settle()

    def ready(self, slot: Slot) -> None:
        """Send, now that there is a connection."""
        raise NotImplementedError

    def ended(self, slot: Slot, exchange: Exchange) -> None:
        """Keep the record, then send the next."""
        self._keep(exchange)
        if self.issuing:
            self.go_on(slot)

    def go_on(self, slot: Slot) -> None:
        """Send the next request of a slot, or wait for one."""
        raise NotImplementedError

    def refused(self, slot: Slot, why: str) -> None:
        """Count a request that found no connection."""
        raise NotImplementedError

    def idle_lost(self, slot: Slot) -> None:
        """Connect again."""
        if self.issuing:
            slot.open(self._context)

    def _new(self, scheduled: int) -> Exchange | None:
        if self._limit is not None and self.sent >= self._limit:
            self.issuing = False
            self._settle()
            return None
        exchange = Exchange(self._next, scheduled)
        self._next += self._step
        self.sent += 1
        if self.window_start and self.window_start <= scheduled:
            exchange.counted = not self.window_end or scheduled < self.window_end
            self._outstanding += exchange.counted
        return exchange

    def _begin(self, slot: Slot, scheduled: int) -> bool:
        exchange = self._new(scheduled)
        if exchange is None:
            return False
        slot.begin(exchange, self._bodies(exchange.index))
        return True

    def _refuse(self, why: str, scheduled: int) -> None:
        exchange = self._new(scheduled)
        if exchange is not None:
            exchange.sent = monotonic_ns()
            exchange.fail(Outcome.REFUSED, why)
            exchange.finish_at(monotonic_ns(), whole=False)
            self._keep(exchange)

    def _keep(self, exchange: Exchange) -> None:
        self.records.append(exchange)
        if exchange.counted:
            self._outstanding -= 1
            if not self._outstanding:
                self._settle()

    def _settle(self) -> None:
        over = 0 < self.window_end <= monotonic_ns()
        if not self._outstanding and (over or not self.issuing):
            self.drained.set()


class ClosedLoop(LoopDriver):
    """Keep a number of requests in flight: each slot sends when its last request has ended."""

    def ready(self, slot: Slot) -> None:
        """Send at once."""
        if self.issuing:
            self._begin(slot, monotonic_ns())

    def go_on(self, slot: Slot) -> None:
        """Send the next at once, or after a pause where the last one failed."""
        if slot.failing or not slot.connected:
            slot.later(lambda: self._again(slot))
        else:
            self._begin(slot, monotonic_ns())

    def refused(self, slot: Slot, why: str) -> None:
        """Count it and connect again after a pause."""
        if self.issuing:
            self._refuse(why, monotonic_ns())
            slot.later(lambda: self._again(slot))

    def _again(self, slot: Slot) -> None:
        if not self.issuing or slot.exchange is not None:
            return
        if slot.connected:
            self._begin(slot, monotonic_ns())
        else:
            slot.open(self._context)


class OpenLoop(LoopDriver):
    """Send at given times, whatever became of earlier requests, as users do.

    An arrival that finds all slots in use waits for one; what it waited shows as the difference
    of ``sent`` and ``scheduled``, and latencies are counted from ``scheduled`` too.
    """

    def __init__(
        self,
        target: LoadTarget,
        bodies: Bodies,
        slots: int,
        arrivals: Iterator[float],
        *,
        patience: Patience | None = None,
        first: int = 0,
        step: int = 1,
        limit: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            target,
            bodies,
            slots,
            patience=patience,
            first=first,
            step=step,
            limit=limit,
            context=context,
        )
        self._arrivals = arrivals
        self._waiting: deque[int] = deque()
        self._idle: list[Slot] = []
        self._began = 0
        self._due = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Return how many arrivals wait for a slot."""
        return len(self._waiting)

    def start(self) -> None:
        """Open the connections; arrivals begin now."""
        super().start()
        self._began = monotonic_ns()
        self._due = self._began + int(next(self._arrivals) * NS)
        self._arm()

    def stop(self) -> None:
        """Send nothing more; arrivals that still wait are dropped and counted as stopped."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting and self.issuing:
            exchange = self._new(self._waiting.popleft())
            if exchange is not None:
                exchange.sent = monotonic_ns()
                exchange.fail(Outcome.STOPPED, "")
                exchange.finish_at(exchange.sent, whole=False)
                self._keep(exchange)
        super().stop()

    def _settle(self) -> None:
        if not self._waiting or not self.issuing or 0 < self.window_end <= self._waiting[0]:
            super()._settle()

    def ready(self, slot: Slot) -> None:
        """Take the connection into use."""
        self._idle.append(slot)
        self._dispatch()

    def go_on(self, slot: Slot) -> None:
        """Take the slot back."""
        if slot.connected:
            self._idle.append(slot)
            self._dispatch()
        else:
            slot.later(lambda: slot.open(self._context))

    def refused(self, slot: Slot, why: str) -> None:
        """Count the arrival that would have used this connection, and connect again."""
        if not self.issuing:
            return
        if self._waiting:
            self._refuse(why, self._waiting.popleft())
        slot.later(lambda: slot.open(self._context))

    def _arm(self) -> None:
        delay = max(0.0, (self._due - monotonic_ns()) / NS)
        self._timer = asyncio.get_running_loop().call_later(min(delay, 3600.0), self._arrive)

    def _arrive(self) -> None:
        if not self.issuing:
            return
        now = monotonic_ns()
        while self._due <= now:
            self._waiting.append(self._due)
            offset = next(self._arrivals, None)
            if offset is None or offset == float("inf"):
                self._due = now + 3600 * NS
                break
            self._due = self._began + int(offset * NS)
        self._dispatch()
        if self.issuing:
            self._arm()

    def _dispatch(self) -> None:
        while self._waiting and self._idle and self.issuing:
            slot = self._idle.pop()
            if (
                slot.connected
                and slot.exchange is None
                and not self._begin(slot, self._waiting.popleft())
            ):
                return
