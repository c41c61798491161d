"""What happened between two readings of ``/metrics``: rates, quantiles and ratios of that window.

Counters and histograms count since the server's start, so a quantile of the whole says little of
now; the difference of two readings does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tools.errors import UsageError
from tools.vllm.metrics import EndpointMetrics, Histogram

_COUNTERS = (
    "preemptions",
    "prompt_tokens",
    "generation_tokens",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "succeeded",
    "rejected",
    "draft_tokens",
    "accepted_tokens",
)
_HISTOGRAMS = ("ttft", "inter_token", "tpot", "e2e", "queue", "prefill", "decode")
_FAILED = ("error",)  # finish reasons that are the server's failures; an abort is its caller's


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics at one time, in seconds of a monotonic clock."""

    time: float
    metrics: EndpointMetrics


@dataclass(frozen=True, slots=True)
class MetricsWindow:
    """The figures of a window; None where the server does not tell, or nothing happened.

    Latencies are in seconds, ratios between 0 and 1. Gauges are those of the later reading.
    ``restarted``: counters fell, so the window begins at the server's start.
    """

    seconds: float
    restarted: bool = False
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    requests_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    output_tokens_per_s: float | None = None
    preemptions: float | None = None
    rejected: float | None = None
    error_ratio: float | None = None
    prefix_hit_rate: float | None = None
    acceptance_rate: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    ttft_p99: float | None = None
    tpot_p50: float | None = None
    tpot_p95: float | None = None
    inter_token_p50: float | None = None
    inter_token_p95: float | None = None
    inter_token_p99: float | None = None
    queue_p50: float | None = None
    queue_p95: float | None = None
    e2e_p50: float | None = None
    e2e_p95: float | None = None
    # False: a quantile lies above the largest bucket, and is that bucket's bound at least.
    bounded: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    def unknown(self) -> tuple[str, ...]:
        """Return the names of the figures that are not known."""
        return tuple(one.name for one in fields(self) if getattr(self, one.name) is None)


def window(before: Reading, after: Reading) -> MetricsWindow:
    """Return the figures of the time between two readings.

    Raises UsageError where the second reading is not later than the first.
    """
    seconds = after.time - before.time
    if seconds <= 0:
        raise UsageError("The second reading must be later than the first.")
    old, new = before.metrics, after.metrics
    restarted = _restarted(old, new)
    if restarted:
        old = EndpointMetrics()
    moved = {name: _delta(getattr(old, name), getattr(new, name)) for name in _COUNTERS}
    times: dict[str, Histogram | None] = {
        name: histogram_delta(getattr(old, name), getattr(new, name)) for name in _HISTOGRAMS
    }
    found: dict[str, float | None] = {}
    bounded = True
    for name, quantiles in (
        ("ttft", (50, 95, 99)),
        ("tpot", (50, 95)),
        ("inter_token", (50, 95, 99)),
        ("queue", (50, 95)),
        ("e2e", (50, 95)),
    ):
        histogram = times[name]
        for quantile in quantiles:
            value = histogram.quantile(quantile / 100) if histogram else None
            found[f"{name}_p{quantile}"] = value
            bounded = bounded and not _beyond(histogram, quantile / 100)
    return MetricsWindow(
        seconds=seconds,
        restarted=restarted,
        running=new.running,
        waiting=new.waiting,
        kv_usage=new.kv_usage,
        requests_per_s=_rate(moved["succeeded"], seconds),
        prompt_tokens_per_s=_rate(moved["prompt_tokens"], seconds),
        output_tokens_per_s=_rate(moved["generation_tokens"], seconds),
        preemptions=moved["preemptions"],
        rejected=moved["rejected"],
        error_ratio=_errors(old.finished, new.finished, moved["rejected"]),
        prefix_hit_rate=_ratio(moved["prefix_cache_hits"], moved["prefix_cache_queries"]),
        acceptance_rate=_ratio(moved["accepted_tokens"], moved["draft_tokens"]),
        bounded=bounded,
        **found,
    )


def histogram_delta(before: Histogram | None, after: Histogram | None) -> Histogram | None:
    """Return what a histogram counted between two readings; None if the later has none.

    Buckets that differ (another version since) can't be subtracted: then the later one counts
    from its start.
    """
    if after is None:
        return None
    if before is None or [b for b, _ in before.buckets] != [b for b, _ in after.buckets]:
        return after
    pairs = zip(before.buckets, after.buckets, strict=True)
    return Histogram(
        count=after.count - before.count,
        sum=after.sum - before.sum,
        buckets=tuple((bound, now - then) for (_, then), (bound, now) in pairs),
    )


def good_count(histogram: Histogram, threshold: float) -> float:
    """Return how many observations were at most ``threshold`` seconds.

    Exact at a bucket's bound; inside a bucket, linear, as quantiles are.
    """
    below, lower = 0.0, 0.0
    for bound, cumulative in histogram.buckets:
        if threshold >= bound:
            below, lower = cumulative, bound
            continue
        if math.isinf(bound):
            return below
        return below + (cumulative - below) * max(0.0, threshold - lower) / (bound - lower)
    return below


def _restarted(old: EndpointMetrics, new: EndpointMetrics) -> bool:
    for name in _COUNTERS:
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is not None and after < before:
            return True
    for name in _HISTOGRAMS:
        then, now = getattr(old, name), getattr(new, name)
        if then is not None and now is not None and now.count < then.count:
            return True
    return False


def _delta(before: float | None, after: float | None) -> float | None:
    return None if after is None else after - (before or 0.0)


def _rate(moved: float | None, seconds: float) -> float | None:
    return None if moved is None else moved / seconds


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _errors(
    old: Mapping[str, float], new: Mapping[str, float], rejected: float | None
) -> float | None:
    if not new:
        return None
    moved = {reason: count - old.get(reason, 0.0) for reason, count in new.items()}
    refused = rejected or 0.0
    total = math.fsum(moved.values()) + refused
    failed = math.fsum(moved.get(reason, 0.0) for reason in _FAILED) + refused
    return failed / total if total > 0 else None


def _beyond(histogram: Histogram | None, q: float) -> bool:
    if histogram is None or not histogram.count or not histogram.buckets:
        return False
    finite = [count for bound, count in histogram.buckets if math.isfinite(bound)]
    return not finite or q * histogram.buckets[-1][1] > finite[-1]
