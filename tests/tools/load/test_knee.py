from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tools.load.cell import CellRun
from tools.load.knee import LoadPoint, find_best_rate, find_knee, knee_of
from tools.load.records import Records
from tools.load.statistics import Distribution
from tools.load.summary import CellSummary, summarise

EMPTY = summarise(CellRun(Records(), 0, 10**9, 0.0))


def point(throughput: float, latency: float, share: float | None = None) -> CellSummary:
    ms = latency * 1000
    spread = Distribution(1, ms, ms, ms, ms, ms, ms, ms)
    return replace(EMPTY, requests_per_s=throughput, e2e=spread, goodput_share=share)


class Machine:
    """A queue of fixed capacity and fixed service: throughput and latency are known."""

    def __init__(self, capacity: int, service: float) -> None:
        self.capacity = capacity
        self.service = service
        self.asked: list[float] = []

    async def at(self, level: int) -> CellSummary | None:
        self.asked.append(level)
        throughput = min(level, self.capacity) / self.service
        return point(throughput, level / throughput)


@pytest.mark.parametrize("capacity", [1, 3, 8, 20, 100])
async def test_the_knee_of_a_queue_is_its_capacity(capacity: int) -> None:
    machine = Machine(capacity, 0.2)
    found = await find_knee(machine.at, most=512)
    assert found is not None
    assert found.concurrency == pytest.approx(capacity)
    assert found.saturated
    assert found.throughput == pytest.approx(capacity / 0.2)
    assert max(machine.asked) <= 4 * capacity


async def test_a_knee_beyond_the_highest_load_is_said_to_be_unsure() -> None:
    found = await find_knee(Machine(1000, 0.2).at, most=64)
    assert found is not None
    assert not found.saturated


async def test_a_stopped_search_tells_what_it_saw() -> None:
    machine = Machine(8, 0.2)

    async def at(level: int) -> CellSummary | None:
        return await machine.at(level) if level < 4 else None

    found = await find_knee(at)
    assert found is not None
    assert not found.saturated
    assert len(found.points) == 2


def test_no_knee_of_one_point_or_of_failures() -> None:
    assert knee_of([LoadPoint(1, 10, 0.1)]) is None
    assert knee_of([LoadPoint(1, 0, 0.0), LoadPoint(2, 0, 0.0)]) is None


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability of waiting in M/M/c (Erlang 1917)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


async def test_the_best_rate_of_a_queue_is_what_erlang_says() -> None:
    servers, service, bound, share = 8, 0.1, 0.05, 0.95

    def good(rate: float) -> float:
        if rate >= servers / service:
            return 0.0
        wait = erlang_c(servers, rate * service)
        return 1 - wait * math.exp(-(servers / service - rate) * bound)

    async def at(rate: float) -> CellSummary | None:
        return point(min(rate, servers / service), service, good(rate))

    found = await find_best_rate(at, start=2, share=share, tolerance=0.01)
    assert good(found.rate) >= share
    assert found.broken_at is not None
    assert good(found.broken_at) < share
    assert found.broken_at / found.rate <= 1.01


async def test_an_objective_that_no_rate_keeps() -> None:
    async def at(rate: float) -> CellSummary | None:
        return point(rate, 1, 0.0)

    found = await find_best_rate(at, start=4)
    assert found.rate == 0
    assert found.broken_at is not None
    assert found.broken_at <= 4 / 16
    assert len(found.points) < 8


async def test_an_objective_that_every_rate_keeps() -> None:
    async def at(rate: float) -> CellSummary | None:
        return point(rate, 1, 1.0)

    found = await find_best_rate(at, start=1, most=100)
    assert (found.rate, found.broken_at) == (100, None)
