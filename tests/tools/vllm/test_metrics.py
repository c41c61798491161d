from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import EndpointNonsense
from tools.vllm.metrics import Histogram, parse_metrics

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "vllm-0.32" / "metrics_vllm_0.32_raw.txt"


def test_a_recorded_exposition_of_vllm_0_32() -> None:
    if not RECORDED.exists():
        pytest.skip(f"the recorded answers of vLLM are not beside the repository: {RECORDED}")
    found = parse_metrics(RECORDED.read_text())
    assert (found.running, found.waiting, found.kv_usage, found.preemptions) == (0, 0, 0, 0)
    assert found.ttft is not None
    assert found.ttft.count == found.ttft.buckets[-1][1] > 0
    assert found.tpot is not None
    assert found.tpot.mean is not None
    assert found.tpot.mean > 0
    assert found.cache_config["num_gpu_blocks"] == "182"
    assert found.prefix_hit_rate is not None
    assert math.isinf(found.ttft.buckets[-1][0])


def test_engines_are_summed_and_the_fullest_cache_counts() -> None:
    found = parse_metrics(
        'vllm:num_requests_running{engine="0"} 2\n'
        'vllm:num_requests_running{engine="1"} 3\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.25\n'
        'vllm:kv_cache_usage_perc{engine="1"} 0.75\n'
    )
    assert (found.running, found.kv_usage) == (5, 0.75)
    assert found.waiting is None
    assert found.prefix_hit_rate is None


def test_older_names_are_known() -> None:
    found = parse_metrics(
        "vllm:gpu_cache_usage_perc 0.5\n"
        "# TYPE vllm:time_per_output_token_seconds histogram\n"
        'vllm:time_per_output_token_seconds_bucket{le="0.1"} 4\n'
        'vllm:time_per_output_token_seconds_bucket{le="+Inf"} 4\n'
        "vllm:time_per_output_token_seconds_sum 0.2\n"
        "vllm:time_per_output_token_seconds_count 4\n"
    )
    assert found.kv_usage == 0.5
    assert found.tpot is not None
    assert found.tpot.mean == pytest.approx(0.05)
    assert found.inter_token == found.tpot


def test_values_that_are_no_numbers_are_not_seen() -> None:
    assert parse_metrics("vllm:kv_cache_usage_perc NaN\n").kv_usage is None


@pytest.mark.parametrize("text", ["<html>", "vllm:x{", 'vllm:x{a="b" 1', "vllm:x one"])
def test_what_is_no_exposition_is_nonsense(text: str) -> None:
    with pytest.raises(EndpointNonsense):
        parse_metrics(text)


@given(st.text(max_size=200))
def test_any_text_is_metrics_or_nonsense(text: str) -> None:
    try:
        parse_metrics(text)
    except EndpointNonsense:
        return


def test_quantiles_as_prometheus_has_them() -> None:
    one = Histogram(10, 5, ((0.1, 2), (0.5, 6), (1, 10), (math.inf, 10)))
    assert one.quantile(0.5) == pytest.approx(0.4)
    assert one.quantile(0) == 0
    assert one.quantile(1) == 1
    overflowing = Histogram(10, 5, ((0.1, 2), (math.inf, 10)))
    assert overflowing.quantile(0.9) == 0.1, "never above the last finite bound"
    assert Histogram(0, 0, ((0.1, 0), (math.inf, 0))).quantile(0.5) is None
    assert Histogram(0, 0, ()).mean is None


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=12),
    st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_quantiles_rise_and_stay_inside(counts: list[int], qs: list[float]) -> None:
    cumulative, buckets = 0, []
    for index, count in enumerate(counts):
        cumulative += count
        buckets.append((float(index + 1), float(cumulative)))
    one = Histogram(cumulative, 0, tuple(buckets))
    found = [one.quantile(q) for q in sorted(qs)]
    if cumulative == 0:
        assert set(found) == {None}
        return
    numbers = [value for value in found if value is not None]
    assert len(numbers) == len(qs)
    assert all(a <= b + 1e-9 for a, b in pairwise(numbers))
    assert all(0 <= value <= len(counts) for value in numbers)
