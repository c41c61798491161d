from __future__ import annotations

import asyncio
import json
from collections import Counter
from time import monotonic

import pytest

from tools.config import EndpointConfig
from tools.load.cell import CellPlan, CellRun, run_cell
from tools.load.client import Patience
from tools.load.endpoint import load_target
from tools.load.prompts import RequestShape, UniquePrompts, shipped_words
from tools.load.records import Outcome
from tools.load.schedule import Arrivals
from tools.load.stub import Behaviour, Fault, SimulatedEndpoint
from tools.load.stub_service import Queue, Timetable
from tools.load.summary import summarise

QUICK = Patience(connect=1, first_byte=0.15, stall=0.08, total=2)
PROMPTS = UniquePrompts(shipped_words(), 12, "test", RequestShape("stub", 8))


async def load(server: SimulatedEndpoint, plan: CellPlan, **more: asyncio.Event) -> CellRun:
    return await run_cell(load_target(EndpointConfig(url=server.url)), PROMPTS, plan, **more)


def outcomes(run: CellRun) -> Counter[str]:
    return Counter(Outcome(code).label for code in run.records.outcome)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("error_object", Outcome.ERROR_IN_STREAM),
        ("cut", Outcome.CUT),
        ("stall", Outcome.STALLED),
        ("reset", Outcome.RESET),
        ("reset_early", Outcome.RESET),
        ("silent", Outcome.TIMEOUT),
        ("429", Outcome.RATE_LIMITED),
        ("503", Outcome.UNAVAILABLE),
        ("garbage", Outcome.GARBAGE),
        ("no_usage", Outcome.INCOMPLETE),
        ("no_finish", Outcome.INCOMPLETE),
        ("no_done", Outcome.INCOMPLETE),
    ],
)
async def test_twenty_of_each_fault_are_counted_as_what_they_are(
    fault: Fault, outcome: Outcome
) -> None:
    behaviour = Behaviour(service=Timetable(0.002, 0.001), faults=(fault, "", ""))
    async with SimulatedEndpoint(behaviour) as server:
        run = await load(server, CellPlan(slots=20, requests=60, patience=QUICK))
    assert outcomes(run) == {"ok": 40, outcome.label: 20}
    summary = summarise(run)
    assert (summary.attempted, summary.succeeded) == (60, 40)
    assert summary.failures == {outcome.label: 20}
    assert sorted(run.records.index) == list(range(60))


async def test_a_mix_of_faults_loses_nothing() -> None:
    faults: tuple[Fault, ...] = ("error_object", "cut", "stall", "reset", "")
    behaviour = Behaviour(service=Timetable(0.002, 0.001), faults=faults)
    async with SimulatedEndpoint(behaviour) as server:
        run = await load(server, CellPlan(slots=25, requests=100, patience=QUICK))
    assert outcomes(run) == {
        "ok": 20,
        "error in stream": 20,
        "cut": 20,
        "stalled": 20,
        "reset": 20,
    }


async def test_connections_are_kept() -> None:
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.001))) as server:
        seen = set()
        original = server.answer

        run = await load(server, CellPlan(slots=4, requests=40, patience=QUICK))
        seen |= {id(connection) for connection in server.connections}
        assert len(seen) <= 4
        assert original("GET", "/health", b"")[0] == 200
    assert outcomes(run) == {"ok": 40}


async def test_a_server_that_dies_in_the_middle() -> None:
    server = SimulatedEndpoint(Behaviour(service=Timetable(0.01, 0.005)))
    await server.start()
    plan = CellPlan(slots=5, window=60, warmup=0.0, patience=QUICK)
    stop = asyncio.Event()
    task = asyncio.create_task(load(server, plan, stop=stop))
    while server.served < 20:  # noqa: ASYNC110 - the server is in this very process
        await asyncio.sleep(0.005)
    await server.close()
    await asyncio.sleep(0.25)
    stop.set()
    run = await task
    found = outcomes(run)
    assert found["ok"] > 0
    assert found["refused"] > 0
    assert found["cut"] + found["reset"] > 0
    assert found["refused"] < 60  # it backs off and does not spin


async def test_nobody_listens() -> None:
    run = await run_cell(
        load_target(EndpointConfig(url="http://127.0.0.1:9")),
        PROMPTS,
        CellPlan(slots=3, requests=6, patience=QUICK),
    )
    assert outcomes(run) == {"refused": 6}


async def test_stop_keeps_what_was_measured() -> None:
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.01))) as server:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.15, stop.set)
        began = monotonic()
        plan = CellPlan(slots=4, window=30, warmup=0.02, patience=QUICK)
        run = await load(server, plan, stop=stop)
    assert monotonic() - began < 1
    assert run.stopped
    summary = summarise(run)
    assert summary.succeeded > 10
    assert summary.failures == {}
    assert summary.stopped <= 4
    assert "stopped before its end" in summary.notes


async def test_the_window_leaves_warm_up_out() -> None:
    async with SimulatedEndpoint(Behaviour(service=Queue(4, 0.02, 0))) as server:
        run = await load(server, CellPlan(slots=4, window=0.3, warmup=0.2, patience=QUICK))
    summary = summarise(run)
    assert summary.seconds == pytest.approx(0.3)
    assert summary.attempted == pytest.approx(60, rel=0.4)
    assert len(run.records) > summary.attempted + 10
    assert summary.requests_per_s == pytest.approx(200, rel=0.4)
    assert summary.concurrency_held == pytest.approx(4, abs=0.4)


async def test_an_open_loop_sends_when_it_is_due() -> None:
    plan = CellPlan(
        slots=20, window=0.5, warmup=0.1, arrivals=Arrivals("constant", 100), patience=QUICK
    )
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.01))) as server:
        run = await load(server, plan)
    summary = summarise(run)
    assert summary.attempted == pytest.approx(50, abs=1)
    assert summary.succeeded == summary.attempted
    assert summary.send_delay_p99 is not None
    assert summary.send_delay_p99 < 50


async def test_waiting_for_a_slot_is_not_hidden() -> None:
    # One place and 20 ms of service for 100 arrivals a second: the queue is before the client.
    plan = CellPlan(
        slots=1, window=0.4, warmup=0.0, arrivals=Arrivals("constant", 100), patience=QUICK
    )
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.02))) as server:
        run = await load(server, plan)
    summary = summarise(run)
    assert summary.attempted == 40  # all that were due, also those sent after the window
    assert summary.ttft is not None
    assert summary.ttft_scheduled is not None
    assert summary.ttft.p50 < 60
    assert summary.ttft_scheduled.high > 300


async def test_thinking_and_several_tokens_a_chunk() -> None:
    behaviour = Behaviour(service=Timetable(0.01, 0.01), tokens_per_chunk=2, reasoning_tokens=4)
    async with SimulatedEndpoint(behaviour) as server:
        run = await load(server, CellPlan(slots=1, requests=3, patience=QUICK))
    summary = summarise(run)
    assert summary.ttft_reasoning is not None
    assert summary.ttft_content is not None
    assert summary.chunk_gap is not None
    assert summary.tpot is not None
    assert summary.ttft_content.p50 - summary.ttft_reasoning.p50 == pytest.approx(20, abs=12)
    assert summary.tokens_per_chunk == 2
    # Four chunks of two tokens, 10 ms apart: 30 ms for the seven tokens after the first.
    assert summary.chunk_gap.mean == pytest.approx(10, abs=4)
    assert summary.tpot.mean == pytest.approx(30 / 7, abs=2)


async def test_every_prompt_is_another() -> None:
    async with SimulatedEndpoint(Behaviour(service=Timetable())) as server:
        await load(server, CellPlan(slots=8, requests=200, patience=QUICK))
        starts = {prompt.split()[0] for prompt in server.prompts}
    assert len(starts) == len(server.prompts) == 200


async def test_a_plan_survives_json() -> None:
    plan = CellPlan(slots=3, arrivals=Arrivals("ramp", 1, 2, 3), patience=QUICK, requests=7)
    assert CellPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


async def test_a_server_that_refuses_at_once_is_not_hammered() -> None:
    async with SimulatedEndpoint(Behaviour(faults=("503",))) as server:
        run = await load(server, CellPlan(slots=2, window=0.3, warmup=0.0, patience=QUICK))
    # 50, 100 and 200 ms between tries: four in 0.3 s, and two slots.
    assert 2 <= outcomes(run)["unavailable"] <= 10
