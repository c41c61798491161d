"""Phases of observed starts, and the history that a cold-start estimate rests on."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.domain import LogRecord
from tools.sizing.cost import CostRequest, cost
from tools.sizing.phases import COMPILING, PHASES, PROCESS, WEIGHTS
from tools.sizing.request import FitRequest
from tools.sizing.starts import history, observed_starts

BEGAN = datetime(2026, 6, 6, 8, tzinfo=UTC)
LINES = (
    (
        0,
        "(APIServer pid=1) INFO 06-06 08:00:00 [utils.py:278] non-default args: {'model': 'google/x'}",
    ),
    (
        60,
        "(EngineCore pid=9) INFO 06-06 08:00:00 [gpu_model_runner.py:5037] Starting to load model x...",
    ),
    (
        95,
        "(EngineCore pid=9) INFO 06-06 08:00:00 [default_loader.py:501] Loading weights took 33 seconds",
    ),
    (
        96,
        "(EngineCore pid=9) INFO 06-06 08:00:00 [runner.py:1] Model loading took 8.2 GiB and 36.0 s",
    ),
    (
        120,
        "(EngineCore pid=9) INFO 06-06 08:00:00 [gpu_worker.py:402] Available KV cache memory: 9.8 GiB",
    ),
    (140, "INFO:     Application startup complete."),
)


def records(lines=LINES, *, at=BEGAN, instance="i1"):
    return [
        LogRecord(f"{instance}/{number}", text, time=at + timedelta(seconds=second),
                  instance=instance, service="s", revision="s-1")
        for number, (second, text) in enumerate(lines)
    ]  # fmt: skip


def test_phases_of_one_start():
    (start,) = observed_starts(records())
    assert start.phases == {PROCESS: 60.0, WEIGHTS: 35.0, COMPILING: 45.0}
    assert start.ready
    assert start.seconds == 140.0
    assert start.to_json()["phases_s"][WEIGHTS] == 35.0


def test_a_start_that_failed_has_the_phases_it_reached():
    (start,) = observed_starts(records(LINES[:3]))
    assert start.phases == {PROCESS: 60.0, WEIGHTS: 35.0}
    assert not start.ready
    assert start.seconds is None


def test_a_log_without_times_tells_no_seconds():
    lines = [LogRecord(f"f:{n}", text) for n, (_, text) in enumerate(LINES, 1)]
    assert observed_starts(lines) == ()


def test_the_same_start_is_the_same_whenever_it_is_read():
    (first,), (again,) = observed_starts(records()), observed_starts(records(LINES[:5]))
    assert first.id == again.id
    (other,) = observed_starts(records(at=BEGAN + timedelta(days=1)))
    assert other.id != first.id


def test_history_becomes_the_estimate():
    slower = tuple((second * 2, text) for second, text in LINES)
    starts = (
        *observed_starts(records()),
        *observed_starts(records(slower, at=BEGAN + timedelta(hours=2), instance="i2")),
    )
    found = history(starts)
    assert found[WEIGHTS] == (35.0, 70.0)
    result = cost(CostRequest(FitRequest("E2B", "L4"), history=found))
    assert [phase.name for phase in result.cold_start] == list(PHASES)
    assert all(phase.measured and phase.starts == 2 for phase in result.cold_start)
    assert (result.cold_start[1].low, result.cold_start[1].high) == (35.0, 70.0)


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.sampled_from([t for _, t in LINES])), max_size=12)
)
def test_whatever_order_phases_are_never_negative(lines):
    ordered = sorted(lines, key=lambda line: line[0])
    for start in observed_starts(records(ordered)):
        assert all(0 <= seconds <= 6 * 3600 for seconds in start.phases.values())


@pytest.mark.parametrize("gap", [6 * 3600 + 1])
def test_lost_lines_are_no_phase(gap):
    (start,) = observed_starts(records((LINES[0], (gap, LINES[1][1]), (gap + 9, LINES[3][1]))))
    assert start.phases == {WEIGHTS: 9.0}
