"""vLLM's ``/metrics``: the exposition format, read into the numbers that a diagnosis needs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.errors import EndpointNonsense

# Our name → vLLM's names, newest first. vLLM 0.32 prints the first of each; the others are from
# vLLM's engine V0 and early V1 (docs/usage/metrics.md of vLLM 0.8 to 0.11).
_GAUGES: Mapping[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "kv_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "swapped": ("vllm:num_requests_swapped",),
}
_COUNTERS: Mapping[str, tuple[str, ...]] = {
    "preemptions": ("vllm:num_preemptions_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    "prefix_cache_queries": (
        "vllm:prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_queries_total",
    ),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "succeeded": ("vllm:request_success_total",),
    "rejected": ("vllm:admission_rejections_total",),
    # vLLM 0.9 and later print these where speculative decoding is on (v1/spec_decode/metrics.py).
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
}
_FINISHED = "vllm:request_success_total"
_HISTOGRAMS: Mapping[str, tuple[str, ...]] = {
    "ttft": ("vllm:time_to_first_token_seconds",),
    "inter_token": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "tpot": ("vllm:request_time_per_output_token_seconds", "vllm:time_per_output_token_seconds"),
    "e2e": ("vllm:e2e_request_latency_seconds",),
    "queue": ("vllm:request_queue_time_seconds",),
    "prefill": ("vllm:request_prefill_time_seconds",),
    "decode": ("vllm:request_decode_time_seconds",),
}


@dataclass(frozen=True, slots=True)
class Histogram:
    """A Prometheus histogram; ``buckets`` are (upper bound, cumulative count), rising."""

    count: float
    sum: float
    buckets: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> float | None:
        """Return the mean, None before the first observation."""
        return self.sum / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """Return an estimate of a quantile, None before the first observation.

        Linear inside the bucket that holds it, and never above the last finite bound, as
        Prometheus's ``histogram_quantile`` does.
        """
        if not self.buckets or not self.count or not 0 <= q <= 1:
            return None
        rank = q * self.buckets[-1][1]
        below, lower = 0.0, 0.0
        for bound, cumulative in self.buckets:
            if cumulative >= rank and cumulative > below:
                if math.isinf(bound):
                    return lower
                start = min(lower, bound)
                return start + (bound - start) * (rank - below) / (cumulative - below)
            below, lower = cumulative, bound if math.isfinite(bound) else lower
        return lower


@dataclass(frozen=True, slots=True)
class EndpointMetrics:
    """What ``/metrics`` said, summed over engines; None where it said nothing.

    ``kv_usage`` is the fullest engine's share, 0 to 1. Counters count since the server's start.
    Histograms are in seconds. ``names`` are the families that were present.
    """

    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    swapped: float | None = None
    preemptions: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    prefix_cache_queries: float | None = None
    prefix_cache_hits: float | None = None
    succeeded: float | None = None
    rejected: float | None = None
    draft_tokens: float | None = None
    accepted_tokens: float | None = None
    ttft: Histogram | None = None
    inter_token: Histogram | None = None
    tpot: Histogram | None = None
    e2e: Histogram | None = None
    queue: Histogram | None = None
    prefill: Histogram | None = None
    decode: Histogram | None = None
    cache_config: Mapping[str, str] = field(default_factory=dict)
    finished: Mapping[str, float] = field(default_factory=dict)  # reason → requests
    names: frozenset[str] = frozenset()

    @property
    def prefix_hit_rate(self) -> float | None:
        """Return the share of prefix-cache queries that hit, None before the first."""
        if not self.prefix_cache_queries or self.prefix_cache_hits is None:
            return None
        return self.prefix_cache_hits / self.prefix_cache_queries


def parse_metrics(text: str) -> EndpointMetrics:
    """Return the metrics of an exposition; raises EndpointNonsense if it is not one."""
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, list[float]] = defaultdict(list)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    cache_config: dict[str, str] = {}
    finished: dict[str, float] = defaultdict(float)
    names: set[str] = set()
    try:
        for family in text_string_to_metric_families(text):
            names.add(family.name)
            for sample in family.samples:
                if sample.name.endswith("_bucket") and "le" in sample.labels:
                    bound = float(sample.labels["le"])
                    buckets[sample.name.removesuffix("_bucket")][bound] += sample.value
                elif sample.name == "vllm:cache_config_info":
                    cache_config = dict(sample.labels)
                else:
                    values[sample.name].append(sample.value)
                    if sample.name == _FINISHED and "finished_reason" in sample.labels:
                        finished[sample.labels["finished_reason"]] += sample.value
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise EndpointNonsense(f"/metrics is not in Prometheus's format: {error}") from error
    found: dict[str, Any] = {}
    for key, wanted in {**_GAUGES, **_COUNTERS}.items():
        found[key] = _first(values, wanted, max if key == "kv_usage" else _total)
    for key, wanted in _HISTOGRAMS.items():
        found[key] = _histogram(values, buckets, wanted)
    return EndpointMetrics(
        **found, cache_config=cache_config, finished=dict(finished), names=frozenset(names)
    )


def _total(values: Iterable[float]) -> float:
    return math.fsum(values)


def _first(
    values: Mapping[str, list[float]],
    wanted: Iterable[str],
    combine: Callable[[Iterable[float]], float],
) -> float | None:
    for name in wanted:
        finite = [value for value in values.get(name, ()) if math.isfinite(value)]
        if finite:
            return combine(finite)
    return None


def _histogram(
    values: Mapping[str, list[float]],
    buckets: Mapping[str, Mapping[float, float]],
    wanted: Iterable[str],
) -> Histogram | None:
    for name in wanted:
        if name in buckets:
            return Histogram(
                count=_total(values.get(f"{name}_count", ())),
                sum=_total(values.get(f"{name}_sum", ())),
                buckets=tuple(sorted(buckets[name].items())),
            )
    return None
