from __future__ import annotations

import json

import pytest

from tools.load.cell import CellRun
from tools.load.records import NS, Outcome, Records
from tools.load.statistics import describe, difference
from tools.load.stream import Exchange
from tools.load.summary import CellSummary, Slo, summarise

MS = 1_000_000


def add(
    records: Records,
    at: int,
    chunks: list[int],
    *,
    done: int,
    tokens: int = 0,
    outcome: Outcome = Outcome.OK,
    due: int | None = None,
    thinking: int = 0,
) -> None:
    one = Exchange(len(records), (at if due is None else due) * MS)
    one.sent, one.done = at * MS, done * MS
    one.times = [(at + offset) * MS for offset in chunks]
    if thinking:
        one.first_reasoning = one.times[0]
    if len(chunks) > thinking:
        one.first_content = one.times[thinking]
    one.completion_tokens = tokens or len(chunks)
    one.prompt_tokens = 10
    one.outcome = outcome
    records.append(one)


def run_of(records: Records, start: int = 0, end: int = 1000, cpu: float = 0.1) -> CellRun:
    return CellRun(records, start * MS, end * MS, cpu)


def test_figures_by_hand() -> None:
    records = Records()
    add(records, 0, [100, 110, 130], done=140, tokens=5)
    add(records, 200, [300], done=600)
    add(records, 400, [50], done=500, outcome=Outcome.CUT)
    found = summarise(run_of(records), Slo(ttft=150))
    assert (found.attempted, found.succeeded, found.failures) == (3, 2, {"cut": 1})
    assert found.ttft is not None
    assert (found.ttft.low, found.ttft.high, found.ttft.p50) == (100, 300, 200)
    assert found.chunk_gap is not None
    assert (found.chunk_gap.count, found.chunk_gap.mean) == (2, 15)
    assert found.tpot is not None
    assert (found.tpot.count, found.tpot.mean) == (1, 30 / 4)  # 5 tokens in 3 chunks
    assert found.tokens_per_chunk == 6 / 4
    assert (found.good, found.goodput_per_s) == (1, 1.0)
    assert found.goodput_share == pytest.approx(1 / 3)  # of all that were due
    assert found.output_tokens_per_s == 6
    assert found.requests_per_s == 2
    assert found.concurrency_held == pytest.approx(0.14 + 0.4 + 0.1)


def test_a_request_across_an_edge_counts_with_its_share() -> None:
    records = Records()
    add(records, 900, [50, 100, 150, 200], done=1100, tokens=8)
    found = summarise(run_of(records))
    assert found.output_tokens_per_s == pytest.approx(4)  # two of its four chunks
    assert found.requests_per_s == pytest.approx(0.5)
    late = summarise(run_of(records, 1000, 2000))
    assert late.attempted == 0  # due before the window
    assert late.output_tokens_per_s == pytest.approx(6)  # the chunk at its edge is inside both


def test_an_objective_counts_from_when_a_request_was_due() -> None:
    records = Records()
    add(records, 300, [50], done=360, due=100)
    assert summarise(run_of(records), Slo(ttft=100)).good == 0
    assert summarise(run_of(records), Slo(ttft=250)).good == 1
    assert summarise(run_of(records), Slo(ttft=250, e2e=250)).good == 0


def test_one_token_can_not_break_a_bound_per_token() -> None:
    records = Records()
    add(records, 0, [10], done=20)
    add(records, 0, [10, 500], done=520)
    assert summarise(run_of(records), Slo(tpot=20)).good == 1


def test_thinking_comes_first() -> None:
    records = Records()
    add(records, 0, [10, 20, 30, 40], done=50, thinking=3)
    found = summarise(run_of(records))
    assert found.ttft is not None
    assert found.ttft_reasoning is not None
    assert found.ttft_content is not None
    assert (found.ttft.p50, found.ttft_reasoning.p50, found.ttft_content.p50) == (10, 10, 40)


@pytest.mark.parametrize(("cpu", "valid"), [(0.70, True), (0.71, False)])
def test_a_busy_client_makes_a_cell_invalid(cpu: float, valid: bool) -> None:
    records = Records()
    add(records, 0, [10], done=20)
    assert bool(summarise(run_of(records, cpu=cpu)).invalid) is not valid


def test_stopped_requests_are_neither_good_nor_bad() -> None:
    records = Records()
    add(records, 0, [10], done=20)
    add(records, 0, [10], done=20, outcome=Outcome.STOPPED)
    found = summarise(run_of(records), Slo(ttft=100))
    assert (found.attempted, found.succeeded, found.stopped) == (1, 1, 1)
    assert found.goodput_share == 1


def test_a_clock_that_jumps_is_noted_and_changes_nothing() -> None:
    records = Records()
    add(records, 0, [10], done=20)
    run = run_of(records)
    run.clock_jump = -3600.0
    found = summarise(run)
    assert any("wall clock moved by -3600.0 s" in note for note in found.notes)
    assert found.ttft is not None
    assert found.ttft.p50 == 10


def test_nothing_at_all() -> None:
    found = summarise(run_of(Records()), Slo(ttft=1))
    assert (found.attempted, found.ttft, found.success_rate) == (0, None, None)
    assert found.goodput_share is None


def test_a_summary_survives_json() -> None:
    records = Records()
    add(records, 0, [10, 30], done=50)
    add(records, 0, [10], done=20, outcome=Outcome.CUT)
    found = summarise(run_of(records), Slo(e2e=100))
    assert CellSummary.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_bootstrap_interval_holds_the_difference() -> None:
    import numpy as np

    random = np.random.default_rng(1)
    first, second = random.normal(100, 10, 800), random.normal(105, 10, 800)
    found = difference(first, second, lambda values: values.mean(axis=-1))
    assert found is not None
    assert found.low < 5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 10 * (2 / 800) ** 0.5, rel=0.25)
    assert found.certain
    same = difference(first, first, lambda values: values.mean(axis=-1))
    assert same is not None
    assert not same.certain
    assert difference(first[:1], second, lambda values: values.mean(axis=-1)) is None


def test_a_distribution_of_nothing_is_none() -> None:
    import numpy as np

    assert describe(np.zeros(0)) is None
    assert NS == 10**9
