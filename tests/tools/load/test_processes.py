from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import pytest

from tools.config import EndpointConfig
from tools.errors import UsageError
from tools.load.calibrate import calibrate
from tools.load.cell import CellPlan
from tools.load.client import Patience
from tools.load.endpoint import load_target
from tools.load.processes import ClientLost, ClientProcesses, Progress
from tools.load.prompts import RequestShape, shipped_words
from tools.load.slots import only_run, raise_file_limit, split_slots
from tools.load.stub import Behaviour, SimulatedEndpoint
from tools.load.stub_service import Timetable
from tools.load.summary import summarise

PROMPTS: dict[str, Any] = {
    "shape": asdict(RequestShape("stub", 4)),
    "seed": "x",
    "vocabulary": shipped_words(),
    "words": 8,
}
QUICK = Patience(connect=2, first_byte=2, stall=2, total=5)


async def test_several_processes_share_one_cell() -> None:
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.005))) as server:
        target = load_target(EndpointConfig(url=server.url))
        async with ClientProcesses(2) as clients:
            for _ in range(2):  # the same processes run one cell after the other
                server.prompts.clear()
                plan = CellPlan(slots=520, requests=700, patience=QUICK)
                run = await clients.run(target, PROMPTS, plan)
                assert run.processes == 2
                assert sorted(run.records.index) == list(range(700))
                assert summarise(run).succeeded == 700
                assert len(set(server.prompts)) == 700


async def test_stop_reaches_the_processes() -> None:
    stop = asyncio.Event()
    seen: list[Progress] = []

    def progress(one: Progress) -> None:
        seen.append(one)
        if one.ended > 4:
            stop.set()

    async with (
        SimulatedEndpoint(Behaviour(service=Timetable(0.005))) as server,
        ClientProcesses(1) as clients,
    ):
        run = await clients.run(
            load_target(EndpointConfig(url=server.url)),
            PROMPTS,
            CellPlan(slots=4, window=60, warmup=0.0, patience=QUICK),
            stop=stop,
            progress=progress,
        )
    assert run.stopped
    assert len(run.records) > 4
    assert seen[-1].in_flight <= 4


async def test_a_process_that_dies_is_told() -> None:
    async with (
        SimulatedEndpoint(Behaviour(service=Timetable(0.005))) as server,
        ClientProcesses(1) as clients,
    ):
        assert clients._process is not None
        asyncio.get_running_loop().call_later(0.3, clients._process.kill)
        with pytest.raises(ClientLost):
            await clients.run(
                load_target(EndpointConfig(url=server.url)),
                PROMPTS,
                CellPlan(slots=2, window=60, patience=QUICK),
            )


async def test_the_timing_error_is_measured() -> None:
    error = await calibrate(8, first=0.02, gap=0.01, chunks=4, seconds=0.2)
    assert error.streams == 8
    assert error.ttft.count >= 8
    assert 0 < error.ttft.p50 < 20  # ms; this machine may be busy
    assert 0 <= error.gap.p50 < 20


def test_slots_are_split_evenly() -> None:
    assert split_slots(1) == [1]
    assert split_slots(512) == [512]
    assert split_slots(513) == [257, 256]
    assert sum(split_slots(2048)) == 2048
    assert max(split_slots(2048)) == 512


def test_too_many_slots_name_how_many_are_possible() -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY:
        pytest.skip("open files are not limited here")
    with pytest.raises(UsageError, match="slots in one process are possible"):
        raise_file_limit(2**31)


def test_two_runs_at_once_against_one_endpoint_are_refused(tmp_path: Any) -> None:
    with only_run("http://a", tmp_path):
        with only_run("http://b", tmp_path):
            pass
        with pytest.raises(UsageError, match="under way"), only_run("http://a", tmp_path):
            pass
    with only_run("http://a", tmp_path):
        pass
