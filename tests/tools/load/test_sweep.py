from __future__ import annotations

from pathlib import Path

import pytest

from tools.config import EndpointConfig
from tools.errors import EndpointError, EndpointRefused, UsageError
from tools.load.client import Patience
from tools.load.facts import EndpointFacts, kv_tokens, read_facts
from tools.load.plan import SweepPlan, estimate, plan_cells
from tools.load.runs import Run
from tools.load.stub import Behaviour, SimulatedEndpoint
from tools.load.stub_service import Queue, Timetable
from tools.load.summary import Slo
from tools.load.sweep import Sweep, SweepEvent, without_password

FACTS = EndpointFacts("stub", max_model_len=1000, kv_tokens=4000)
QUICK = Patience(connect=2, first_byte=2, stall=1, total=4)


async def sweep(
    server: SimulatedEndpoint, plan: SweepPlan, folder: Path, stop_after: int = 0
) -> tuple[Run, list[SweepEvent]]:
    config = EndpointConfig(url=server.url)
    facts = await read_facts(config)
    one = Sweep(plan, plan_cells(plan, facts), config, facts, folder=folder)
    events: list[SweepEvent] = []

    def tell(event: SweepEvent) -> None:
        events.append(event)
        done = sum(e.what == "measured" for e in events)
        if stop_after and event.what == "progress" and done >= stop_after:
            one.stop.set()

    return await one.run(tell), events


def test_cells_that_can_not_be_are_skipped_with_the_reason() -> None:
    plan = SweepPlan(concurrency=(1, 4, 8), inputs=(500, 900), outputs=(100,))
    reasons = {cell.label: cell.skip for cell in plan_cells(plan, FACTS)}
    assert reasons["c=1 500→100"] == reasons["c=4 500→100"] == ""
    assert "8 × 600 = 4800 tokens" in reasons["c=8 500→100"]
    assert reasons["c=1 900→100"] == ""  # exactly max_model_len
    assert "8 × 1000" in reasons["c=8 900→100"]
    longer = SweepPlan(concurrency=(1,), inputs=(901,), outputs=(100,))
    assert "more than max_model_len 1000" in plan_cells(longer, FACTS)[0].skip
    free = SweepPlan(concurrency=(8,), inputs=(500,), outputs=(100,), beyond_kv=True)
    assert plan_cells(free, FACTS)[0].skip == ""


def test_an_estimate_is_the_time_and_its_price() -> None:
    plan = SweepPlan(
        concurrency=(1, 2), inputs=(10,), outputs=(10,), window=7, warmup=0, usd_per_hour=3600
    )
    found = estimate(plan, plan_cells(plan, FACTS))
    assert (found.cells, found.skipped) == (2, 0)
    assert found.seconds == 2 * (7 + 1 + 2)
    assert found.usd == found.seconds
    assert found.most > found.seconds


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"concurrency": (0,)}, "concurrency must be 1"),
        ({"rates": (0.0,)}, "rate must be"),
        ({"window": 0}, "window must be"),
        ({"max_usd": 1.0}, "price"),
        ({"search": "rate"}, "objective"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_a_plan_that_can_not_be_is_refused(fault: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SweepPlan(**fault)  # type: ignore[arg-type]


def test_cells_do_not_share_a_seed() -> None:
    plan = SweepPlan(concurrency=(1, 2), inputs=(10, 20), outputs=(5,), repeats=2)
    seeds = [cell.seed(plan) for cell in plan_cells(plan, FACTS)]
    assert len(set(seeds)) == len(seeds) == 8


def test_kv_tokens_as_the_versions_print_them() -> None:
    assert kv_tokens({"kv_cache_size_tokens": "23296", "num_gpu_blocks": "1"}) == 23296
    assert kv_tokens({"num_gpu_blocks": "182", "block_size": "128"}) == 182 * 128
    assert kv_tokens({"num_gpu_blocks": "None", "block_size": "16"}) == 0


async def test_a_sweep_is_kept_cell_by_cell(tmp_path: Path) -> None:
    behaviour = Behaviour(service=Queue(4, 0.02, 0.002), kv_tokens=400)
    plan = SweepPlan(
        concurrency=(1, 4, 32),
        inputs=(40,),
        outputs=(6,),
        window=0.4,
        warmup=0.1,
        slo=Slo(ttft=500),
        patience=QUICK,
        usd_per_hour=1.0,
    )
    async with SimulatedEndpoint(behaviour) as server:
        run, events = await sweep(server, plan, tmp_path)
        counts = {len(prompt.split()) for prompt in server.prompts}
    assert [event.what for event in events if event.what != "progress"] == [
        "started",
        "measured",
        "started",
        "measured",
        "skipped",
    ]
    assert run.finished
    assert [cell.skip[:6] for cell in run.cells] == ["", "", "32 × 4"]
    summary = run.cells[1].summary
    assert summary is not None
    assert summary.requests_per_s == pytest.approx(4 / 0.03, rel=0.35)
    assert summary.prompt_tokens is not None
    assert (summary.prompt_tokens.low, summary.prompt_tokens.high) == (40, 40)
    assert len(run.cells[1].samples["ttft"]) == summary.succeeded
    assert counts == {32}  # 40 with the template's 8
    assert run.get("kv_tokens") == 400
    assert run.get("vllm_version") == "0.32.0"


async def test_stop_ends_a_sweep_and_keeps_what_was_measured(tmp_path: Path) -> None:
    plan = SweepPlan(
        concurrency=(1, 2, 4), inputs=(20,), outputs=(2,), window=0.5, warmup=0, patience=QUICK
    )
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.01))) as server:
        run, _ = await sweep(server, plan, tmp_path, stop_after=1)
    assert run.finished
    assert run.end["stopped"] is True
    assert [cell.concurrency for cell in run.measured] == [1, 2]
    assert run.cells[1].summary is not None
    assert "stopped before its end" in run.cells[1].summary.notes


async def test_a_budget_ends_a_sweep(tmp_path: Path) -> None:
    plan = SweepPlan(
        concurrency=(1, 2), inputs=(20,), outputs=(2,), window=0.2, warmup=0, max_seconds=1
    )
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.01))) as server:
        run, _ = await sweep(server, plan, tmp_path)
    assert [cell.skip for cell in run.cells] == ["the budget of 1 s would be passed"] * 2


async def test_where_requests_fail_a_heavier_load_is_not_tried(tmp_path: Path) -> None:
    plan = SweepPlan(
        concurrency=(1, 2), inputs=(20,), outputs=(4,), window=0.2, warmup=0, patience=QUICK
    )
    async with SimulatedEndpoint(Behaviour(faults=("503",))) as server:
        run, _ = await sweep(server, plan, tmp_path)
    assert run.cells[0].summary is not None
    assert run.cells[0].summary.succeeded == 0
    assert "only 0% of the requests succeeded" in run.cells[1].skip


async def test_a_search_finds_the_knee_of_a_known_queue(tmp_path: Path) -> None:
    behaviour = Behaviour(service=Queue(3, 0.03, 0.0))
    plan = SweepPlan(
        search="knee", inputs=(20,), outputs=(2,), window=0.4, warmup=0.1, patience=QUICK
    )
    async with SimulatedEndpoint(behaviour) as server:
        run, _ = await sweep(server, plan, tmp_path)
    found = run.end["found"][0]["knee"]
    assert found["concurrency"] == pytest.approx(3, abs=1)
    assert found["throughput"] == pytest.approx(100, rel=0.35)


async def test_facts_of_an_endpoint() -> None:
    async with SimulatedEndpoint(Behaviour(kv_tokens=777, max_model_len=55)) as server:
        facts = await read_facts(EndpointConfig(url=server.url))
        assert (facts.model, facts.max_model_len, facts.kv_tokens) == ("stub", 55, 777)
        assert facts.running == 0
        with pytest.raises(EndpointError, match="it serves stub"):
            await read_facts(EndpointConfig(url=server.url, model="other"))
    with pytest.raises(EndpointRefused):
        await read_facts(EndpointConfig(url="http://127.0.0.1:9"))


def test_a_password_in_the_url_is_not_kept() -> None:
    assert (
        without_password("https://me:secret@a.run.app:8443/x?key=1") == "https://a.run.app:8443/x"
    )
