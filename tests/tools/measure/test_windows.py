from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.measure.windows import Reading, good_count, histogram_delta, window
from tools.vllm.metrics import EndpointMetrics, Histogram, parse_metrics

RAW = Path(__file__).parents[4] / "shared/data/vllm-0.32/metrics_vllm_0.32_raw.txt"


def histogram(*counts: float) -> Histogram:
    bounds = [0.1 * 2**n for n in range(len(counts) - 1)] + [math.inf]
    return Histogram(counts[-1], counts[-1] * 0.2, tuple(zip(bounds, counts, strict=True)))


def test_a_window_is_the_difference_of_two_readings() -> None:
    before = EndpointMetrics(
        preemptions=5,
        generation_tokens=1000,
        prompt_tokens=10,
        prefix_cache_queries=100,
        prefix_cache_hits=90,
        succeeded=20,
        rejected=1,
        finished={"stop": 15, "length": 4, "error": 1},
        ttft=histogram(10, 10, 10, 10),
        kv_usage=0.2,
    )
    after = EndpointMetrics(
        preemptions=7,
        generation_tokens=1500,
        prompt_tokens=10,
        prefix_cache_queries=200,
        prefix_cache_hits=95,
        succeeded=40,
        rejected=2,
        draft_tokens=50,
        accepted_tokens=20,
        finished={"stop": 30, "length": 5, "error": 4, "abort": 1},
        ttft=histogram(10, 30, 30, 30),
        kv_usage=0.9,
        waiting=3,
    )
    seen = window(Reading(100, before), Reading(110, after))
    assert not seen.restarted
    assert (seen.preemptions, seen.output_tokens_per_s, seen.prompt_tokens_per_s) == (2, 50, 0)
    assert seen.prefix_hit_rate == 0.05  # of now, not of always
    assert seen.acceptance_rate == 0.4
    # 20 requests ended, 3 with an error; one more was refused at the door.
    assert seen.error_ratio == pytest.approx(4 / 21)
    # All twenty of the window lie between 0.1 and 0.2 s, so the median is in the middle.
    assert seen.ttft_p50 == pytest.approx(0.15)
    assert (seen.kv_usage, seen.waiting, seen.running) == (0.9, 3, None)
    assert "tpot_p50" in seen.unknown()


def test_a_restart_counts_from_the_start_of_the_server() -> None:
    before = EndpointMetrics(generation_tokens=1000, ttft=histogram(5, 9, 9))
    after = EndpointMetrics(generation_tokens=50, ttft=histogram(0, 2, 2))
    seen = window(Reading(0, before), Reading(10, after))
    assert seen.restarted
    assert seen.output_tokens_per_s == 5
    assert seen.ttft_p50 == pytest.approx(0.15)


def test_nothing_happened() -> None:
    metrics = EndpointMetrics(
        succeeded=5, finished={"stop": 5}, prefix_cache_queries=9, ttft=histogram(5, 5, 5)
    )
    seen = window(Reading(0, metrics), Reading(1, metrics))
    assert (seen.requests_per_s, seen.error_ratio, seen.prefix_hit_rate) == (0, None, None)
    assert seen.ttft_p50 is None


def test_readings_out_of_order_are_refused() -> None:
    with pytest.raises(UsageError):
        window(Reading(1, EndpointMetrics()), Reading(1, EndpointMetrics()))


def test_a_quantile_beyond_the_buckets_is_said_to_be_one() -> None:
    seen = window(
        Reading(0, EndpointMetrics(ttft=histogram(0, 0, 0))),
        Reading(1, EndpointMetrics(ttft=histogram(0, 5, 10))),
    )
    assert not seen.bounded
    assert seen.ttft_p95 == 0.2  # the largest finite bound


def test_other_buckets_of_another_version_are_not_subtracted() -> None:
    other = Histogram(3, 1, ((1.0, 3.0), (math.inf, 3.0)))
    assert histogram_delta(histogram(1, 2, 3), other) is other
    assert histogram_delta(other, None) is None


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.floats(0, 100))
def test_good_and_bad_are_all(steps: list[int], threshold: float) -> None:
    counts = [float(sum(steps[: n + 1])) for n in range(len(steps))]
    one = histogram(*counts)
    good = good_count(one, threshold)
    assert 0 <= good <= one.count
    assert good <= good_count(one, threshold * 2)
    for bound, cumulative in one.buckets[:-1]:
        assert good_count(one, bound) == cumulative


def test_the_recorded_exposition() -> None:
    if not RAW.exists():
        pytest.skip("the recorded metrics of vLLM 0.32 are not here")
    text = RAW.read_text()
    before = parse_metrics(text)
    busy = text.replace(
        'vllm:generation_tokens_total{engine="0",model_name="gemma-4-peer"} ',
        'vllm:generation_tokens_total{engine="0",model_name="gemma-4-peer"} 1',
    ).replace(
        'vllm:kv_cache_usage_perc{engine="0",model_name="gemma-4-peer"} 0.0',
        'vllm:kv_cache_usage_perc{engine="0",model_name="gemma-4-peer"} 0.91',
    )
    assert busy != text
    seen = window(Reading(0, before), Reading(10, parse_metrics(busy)))
    assert seen.kv_usage == 0.91
    assert seen.output_tokens_per_s is not None
    assert seen.output_tokens_per_s > 1
    assert before.finished["length"] == 5
    assert (seen.rejected, seen.acceptance_rate) == (0, None)
