"""How the simulated endpoint spends its time: at once, on a timetable, or as a queue.

The queue is what makes a found knee checkable: ``capacity`` servers, first come first served, so
that throughput, knee and waiting times are known from queueing theory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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


class Job:
    """One answer that is being given, or waits for its turn."""

    __slots__ = ("began", "cancelled", "emit", "first", "gap", "sent", "timer", "tokens")

    def __init__(self, tokens: int, emit: Emit) -> None:
        self.tokens = tokens
        self.emit = emit
        self.sent = 0
        self.began = 0  # monotonic ns; 0: it waits
        self.first = self.gap = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.cancelled = False


class Scheduler:
    """Run services on the running event loop."""

    def __init__(self, service: Timetable | Queue) -> None:
        self.service = service
        self.busy = 0
        self.waiting: deque[Job] = deque()
        seed = service.seed if isinstance(service, Queue) else 0
        self._random = Random(seed)  # noqa: S311 - not for secrets
        self._running: set[Job] = set()

    def submit(self, tokens: int, emit: Emit) -> Job:
        """Send ``tokens`` chunks when the service says so."""
        job = Job(tokens, emit)
        if isinstance(self.service, Timetable):
            self._start(job, self.service.first, self.service.gap)
        else:
            self.waiting.append(job)
            self._admit()
        return job

    def cancel(self, job: Job) -> None:
        """Drop an answer whose caller has gone, as vLLM does."""
        if job.cancelled:
            return
        job.cancelled = True
        if job in self._running:
            self._end(job)
        elif not job.began:
            self.waiting.remove(job)

    def close(self) -> None:
        """Send nothing more."""
        self.waiting.clear()
        for job in list(self._running):
            job.cancelled = True
            self._end(job)

    def _admit(self) -> None:
        queue = self.service
        assert isinstance(queue, Queue)  # noqa: S101 - the only callers know
        while self.waiting and self.busy < queue.capacity:
            job = self.waiting.popleft()
            self.busy += 1
            scale = self._random.expovariate(1.0) if queue.spread == "exponential" else 1.0
            self._start(job, queue.prefill * scale, queue.token * scale)

    def _start(self, job: Job, first: float, gap: float) -> None:
        job.began = monotonic_ns()
        job.first, job.gap = first, gap
        self._running.add(job)
        job.timer = asyncio.get_running_loop().call_later(first, self._step, job)

    def _step(self, job: Job) -> None:
        # Due times are absolute, so that the lateness of one timer does not add to the next.
        elapsed = (monotonic_ns() - job.began) / NS
        while job.sent < job.tokens and job.first + job.gap * job.sent <= elapsed + 1e-4:
            job.emit(job.sent)
            job.sent += 1
        if job.sent >= job.tokens:
            self._end(job)
            return
        wait = job.first + job.gap * job.sent - elapsed
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(max(0.0, wait), self._step, job)

    def _end(self, job: Job) -> None:
        self._running.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        if isinstance(self.service, Queue):
            self.busy -= 1
            self._admit()
