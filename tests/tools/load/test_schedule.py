from __future__ import annotations

import heapq
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.load.schedule import Arrivals


def test_a_poisson_plan_is_repeatable_and_of_its_rate() -> None:
    plan = Arrivals("poisson", 50.0)
    first = list(islice(plan.offsets(1), 20_000))
    assert first == list(islice(plan.offsets(1), 20_000))
    assert first[:5] != list(islice(plan.offsets(2), 5))
    assert 20_000 / first[-1] == pytest.approx(50.0, rel=0.03)
    gaps = [b - a for a, b in pairwise(first)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance / mean**2 == pytest.approx(1.0, rel=0.05)  # as of an exponential


def test_parts_of_a_poisson_plan_together_keep_its_rate() -> None:
    plan = Arrivals("poisson", 50.0)
    merged = heapq.merge(*(islice(plan.offsets(1, part=n, parts=4), 10_000) for n in range(4)))
    times = list(islice(merged, 20_000))
    assert 20_000 / times[-1] == pytest.approx(50.0, rel=0.04)


@given(st.integers(1, 5), st.floats(0.1, 1000))
def test_parts_of_a_constant_plan_are_the_plan(parts: int, rate: float) -> None:
    plan = Arrivals("constant", rate)
    merged = heapq.merge(*(islice(plan.offsets(0, part=n, parts=parts), 10) for n in range(parts)))
    assert list(islice(merged, 10)) == list(islice(plan.offsets(0), 10))


@given(st.floats(0, 50), st.floats(0.5, 50), st.floats(1, 20))
def test_a_ramp_counts_what_its_integral_says(start: float, end: float, seconds: float) -> None:
    plan = Arrivals("ramp", start, end, seconds)
    whole = (start + end) / 2 * seconds
    for count, time in enumerate(islice(plan.offsets(0), 40)):
        if count <= whole:
            counted = start * time + (end - start) * time * time / (2 * seconds)
            assert counted == pytest.approx(count, abs=1e-3)
        else:
            assert time == pytest.approx(seconds + (count - whole) / end, rel=1e-6)


@pytest.mark.parametrize(
    "plan",
    [("poisson", 0.0), ("constant", -1.0), ("poisson", float("nan")), ("ramp", 1.0, 2.0, 0.0)],
)
def test_an_impossible_rate_is_refused(plan: tuple[object, ...]) -> None:
    with pytest.raises(UsageError):
        Arrivals(*plan)  # type: ignore[arg-type]
