from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tools.domain import LogRecord
from tools.errors import UsageError
from tools.google.clients import Cloud
from tools.google.logging import LogQuery, Page, read_records
from tools.logs.tail import Fresh, tail_cloud, tail_file
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

QUERY = LogQuery(resource_types=("cloud_run_revision",))


def between(*steps: Callable[[], None]) -> Callable[[float], Awaitable[None]]:
    """Return a sleep that takes no time and does the next step instead."""
    left = list(steps)

    async def sleep(_: float) -> None:
        if left:
            left.pop(0)()

    return sleep


async def test_a_file_that_grows_and_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("before\n")

    def append() -> None:
        with log.open("a") as file:
            file.write("one\ntwo, and ha")

    def more() -> None:
        with log.open("a") as file:
            file.write("lf\n")

    found = [
        record.text
        async for record in tail_file(
            str(log), rounds=4, sleep=between(append, more, lambda: log.write_text("new\n"))
        )
    ]
    assert found == ["one", "two, and half", "new"]


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        async for _ in tail_file(str(tmp_path / "none.log")):
            pass


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    simulated = SimulatedCloud(load_scenario("int4-kernel-l4"))
    async with simulated, Cloud(simulated.config()) as opened:
        yield opened


async def test_a_cloud_shows_each_entry_once(cloud: Cloud) -> None:
    start = cloud.config.now() - timedelta(hours=3)
    every = [r.ref async for r in read_records(cloud, QUERY, 5_000)]
    found = [
        record.ref
        async for record in tail_cloud(cloud, QUERY, start=start, rounds=3, sleep=between())
    ]
    assert len(found) > 50
    assert len(found) == len(set(found))
    assert set(found) <= set(every)


async def test_a_reading_goes_on_by_its_page_token(cloud: Cloud) -> None:
    pages: list[Page] = []
    whole = [r.ref async for r in read_records(cloud, QUERY, 60)]
    first = [r.ref async for r in read_records(cloud, QUERY, 25, on_page=pages.append)]
    assert (pages[-1].entries, pages[-1].pages) == (25, 1)
    rest = [r.ref async for r in read_records(cloud, QUERY, 35, page_token=pages[-1].token)]
    assert first + rest == whole


def test_what_was_seen_is_remembered_up_to_a_limit() -> None:
    fresh = Fresh(2)
    taken = [fresh.take(LogRecord(ref, "text")) for ref in ("a", "a", "b", "c", "a")]
    assert taken == [True, False, True, True, True]
