"""How the simulated endpoint spends its time: at once, on a timetable, or as a queue.

The queue is what makes a found knee checkable: ``capacity`` servers, first come first served, so
that throughput, knee and waiting times are known from queueing theory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic_ns
from typing import Literal

from tools.load.records import NS

Emit = Callable[[int], None]  # sends the chunk with this number; the last is ``tokens - 1``


@dataclass(frozen=True, slots=True)
class Timetable:
    """The first chunk after ``first`` seconds, the others ``gap`` seconds apart.

    With 0 and 0 a whole answer leaves in one write.
    """

    first: float = 0.0
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Queue:
    """``capacity`` requests at once, first come first served.

    A service takes ``prefill`` seconds to the first token, then ``token`` seconds for each
    further one; all of it is scaled by an exponential draw of mean 1 where ``spread`` says so.
    """

    capacity: int
    prefill: float
    token: float
    spread: Literal["fixed", "exponential"] = "fixed"
    seed: int = 0

    def service(self, tokens: int) -> float:
        """Return the mean seconds of one service."""
        return self.prefill + self.token * max(0, tokens - 1)


@dataclass(slots=True)
class Scheduler:
    """Run services on the running event loop."""

    service: Timetable | Queue
    busy: int = 0
    waiting: deque[tuple[int, Emit]] = field(default_factory=deque)
    _random: Random = field(init=False)
    _timers: set[asyncio.TimerHandle] = field(default_factory=set)

    def __post_init__(self) -> None:
        seed = self.service.seed if isinstance(self.service, Queue) else 0
        self._random = Random(seed)  # noqa: S311 - not for secrets

    def submit(self, tokens: int, emit: Emit) -> None:
        """Send ``tokens`` chunks when the service says so."""
        if isinstance(self.service, Timetable):
            self._play(tokens, emit, self.service.first, self.service.gap, last=None)
        else:
            self.waiting.append((tokens, emit))
            self._admit()

    def close(self) -> None:
        """Send nothing more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.waiting.clear()

    def _admit(self) -> None:
        queue = self.service
        assert isinstance(queue, Queue)  # noqa: S101 - the only caller knows
        while self.waiting and self.busy < queue.capacity:
            tokens, emit = self.waiting.popleft()
            self.busy += 1
            scale = self._random.expovariate(1.0) if queue.spread == "exponential" else 1.0
            self._play(tokens, emit, queue.prefill * scale, queue.token * scale, last=self._free)

    def _free(self) -> None:
        self.busy -= 1
        self._admit()

    def _play(
        self,
        tokens: int,
        emit: Emit,
        first: float,
        gap: float,
        *,
        last: Callable[[], None] | None,
    ) -> None:
        # Due times are absolute, so that the lateness of one timer does not add to the next.
        loop = asyncio.get_running_loop()
        began = monotonic_ns()
        sent = 0
        timer: asyncio.TimerHandle | None = None

        def step() -> None:
            nonlocal sent, timer
            if timer is not None:
                self._timers.discard(timer)
            elapsed = (monotonic_ns() - began) / NS
            while sent < tokens and first + gap * sent <= elapsed + 1e-4:
                emit(sent)
                sent += 1
            if sent >= tokens:
                if last is not None:
                    last()
                return
            timer = loop.call_later(max(0.0, first + gap * sent - elapsed), step)
            self._timers.add(timer)

        timer = loop.call_later(first, step)
        self._timers.add(timer)
