"""The /metrics page of the simulated endpoint, with the names and labels of vLLM 0.32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_HISTOGRAMS = {
    "time_to_first_token_seconds": ("ttft", 0.4, "Time to first token in seconds."),
    "inter_token_latency_seconds": ("itl", 0.03, "Latency between tokens in seconds."),
    "request_time_per_output_token_seconds": ("tpot", 0.03, "Time per output token in seconds."),
    "e2e_request_latency_seconds": ("e2e", 4.0, "End to end latency in seconds."),
    "request_queue_time_seconds": ("queue", 0.01, "Time in the WAITING phase in seconds."),
}
_REASONS = ("stop", "length", "abort", "error", "repetition")


@dataclass(slots=True)
class EndpointCounters:
    """What the endpoint has served so far; a scenario sets where it starts."""

    values: Mapping[str, Any]
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=dict)

    def served(self, prompt: int, completion: int, finish_reason: str) -> None:
        """Count one answered request."""
        self.prompt_tokens += prompt
        self.generation_tokens += completion
        reason = finish_reason if finish_reason in _REASONS else "stop"
        self.finished[reason] = self.finished.get(reason, 0) + 1


def render_metrics(counters: EndpointCounters, model: str, blocks: int) -> str:
    """Return the page as Prometheus text; a gauge or counter not set in the scenario is 0."""
    return "\n".join(_lines(counters, model, blocks)) + "\n"


def _lines(counters: EndpointCounters, model: str, blocks: int) -> Iterator[str]:
    values = counters.values
    base = f'engine="0",model_name="{model}"'

    def number(key: str) -> float:
        return float(values.get(key, 0))

    def one(name: str, kind: str, text: str, *rows: tuple[str, float]) -> Iterator[str]:
        yield f"# HELP vllm:{name} {text}"
        yield f"# TYPE vllm:{name} {kind}"
        for labels, value in rows:
            yield f"vllm:{name}{{{base}{labels}}} {value}"

    waiting = number("waiting")
    yield from one(
        "num_requests_running", "gauge", "Requests in execution.", ("", number("running"))
    )
    yield from one("num_requests_waiting", "gauge", "Requests that wait.", ("", waiting))
    yield from one(
        "num_requests_waiting_by_reason",
        "gauge",
        "Requests that wait, by reason.",
        (',reason="capacity"', waiting),
        (',reason="deferred"', 0.0),
    )
    yield from one(
        "engine_sleep_state",
        "gauge",
        "Sleep state of the engine.",
        (',sleep_state="awake"', 1.0),
        (',sleep_state="weights_offloaded"', 0.0),
        (',sleep_state="discard_all"', 0.0),
    )
    yield from one(
        "kv_cache_usage_perc", "gauge", "KV-cache usage, 1 is all.", ("", number("kv_usage"))
    )
    for name, value in (
        ("num_preemptions_total", number("preemptions")),
        ("prefix_cache_queries_total", number("prefix_queries")),
        ("prefix_cache_hits_total", number("prefix_hits")),
        ("prompt_tokens_total", number("prompt_tokens") + counters.prompt_tokens),
        ("generation_tokens_total", number("generation_tokens") + counters.generation_tokens),
    ):
        yield from one(name, "counter", "Sum since start.", ("", value))
    start = dict(values.get("success", {}))
    yield from one(
        "request_success_total",
        "counter",
        "Finished requests, by reason.",
        *(
            (
                f',finished_reason="{reason}"',
                float(start.get(reason, 0) + counters.finished.get(reason, 0)),
            )
            for reason in _REASONS
        ),
    )
    for name, (key, default, text) in _HISTOGRAMS.items():
        yield f"# HELP vllm:{name} {text}"
        yield f"# TYPE vllm:{name} histogram"
        row = values.get(key, {})
        count, mean = float(row.get("count", 0)), float(row.get("mean", default))
        for bound in _SECONDS:
            inside = count if mean <= bound else 0.0
            yield f'vllm:{name}_bucket{{{base},le="{bound}"}} {inside}'
        yield f'vllm:{name}_bucket{{{base},le="+Inf"}} {count}'
        yield f"vllm:{name}_count{{{base}}} {count}"
        yield f"vllm:{name}_sum{{{base}}} {count * mean}"
    tokens = int(values.get("kv_tokens", blocks * 16))
    concurrency = values.get("kv_concurrency", "None")
    yield from one(
        "cache_config_info",
        "gauge",
        "Information of the LLMEngine CacheConfig",
        (
            ',block_size="16",cache_dtype="'
            f'{values.get("cache_dtype", "auto")}",gpu_memory_utilization="0.95",'
            f'kv_cache_max_concurrency="{concurrency}",kv_cache_size_tokens="{tokens}",'
            f'num_gpu_blocks="{blocks}"',
            1.0,
        ),
    )
