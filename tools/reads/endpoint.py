"""get_endpoint and read_metrics: what the vLLM server says of itself."""

from __future__ import annotations

from typing import Any

from tools.config import EndpointConfig
from tools.domain import Observation, Origin
from tools.errors import CloudError, ConfigurationError
from tools.google.identity import IdentityTokens
from tools.google.monitoring import instance_count
from tools.probes.endpoint import reached
from tools.probes.run import run_probes
from tools.reads.cloud import cloud_of
from tools.tool import Effect, ToolContext, ToolResult, tool
from tools.vllm.answers import MAX_METRICS, Answer, endpoint_client, fetch
from tools.vllm.endpoint import metric_lines
from tools.vllm.metrics import EndpointMetrics, Histogram, parse_metrics


@tool(Effect.READ)
async def get_endpoint(context: ToolContext) -> ToolResult:
    """Check whether the vLLM endpoint answers: state, model, context window, version, load."""
    now = context.config.now()
    _, probes = await run_probes(
        context.target,
        context.config,
        context.endpoint,
        window=(now, now),
        cloud=context.cloud,
        only=frozenset({"service", "instances", "node", "endpoint"}),
    )
    observations = tuple(one for probe in probes for one in probe.observations)
    facts: dict[str, Any] = {}
    for observation in observations:
        facts |= observation.facts
    told = ", ".join(
        str(facts[name])
        for name in ("endpoint.state", "endpoint.model", "endpoint.version")
        if name in facts
    )
    gaps = [str(gap) for probe in probes for gap in probe.gaps]
    return ToolResult(
        summary=told or "the endpoint could not be asked",
        data=facts | {"gaps": gaps},
        observations=observations,
    )


@tool(Effect.READ)
async def read_metrics(context: ToolContext) -> ToolResult:
    """Read the server's own metrics: queue, KV cache use, preemptions, latencies since start."""
    url = context.endpoint.url or context.target.url
    if not url:
        raise ConfigurationError("The endpoint's URL is not known.", fix="Set VLLM_BASE_URL.")
    if asleep := await _asleep(context):
        return ToolResult(summary=asleep)
    answer = await _metrics(context, reached(context.endpoint, url))
    if answer.status != 200:
        return ToolResult(summary=f"/metrics: {answer.detail or answer.line}")
    data = _numbers(parse_metrics(answer.body))
    line = ", ".join(f"{name} {value:g}" for name, value in list(data.items())[:4])
    return ToolResult(
        summary=line or "no metrics of vLLM",
        data=data,
        observations=(
            Observation("vllm", "GET /metrics", metric_lines(answer.body), origin=Origin.PROCESS),
        ),
    )


async def _metrics(context: ToolContext, endpoint: EndpointConfig) -> Answer:
    audience, token = endpoint.audience, ""
    if audience:
        tokens = IdentityTokens(audience, impersonate=context.config.impersonate)
        token = await tokens.token_for(endpoint.url)
    async with endpoint_client(endpoint, token or None) as client:
        return await fetch(client, "/metrics", seconds=endpoint.limits.health, limit=MAX_METRICS)


def _numbers(metrics: EndpointMetrics) -> dict[str, float]:
    found: dict[str, float | None] = {
        "running": metrics.running,
        "waiting": metrics.waiting,
        "kv_usage": metrics.kv_usage,
        "preemptions": metrics.preemptions,
        "prompt_tokens": metrics.prompt_tokens,
        "generation_tokens": metrics.generation_tokens,
        "prefix_hit_rate": metrics.prefix_hit_rate,
    }
    for name in ("ttft", "tpot", "e2e", "queue"):
        histogram: Histogram | None = getattr(metrics, name)
        if histogram and histogram.count:
            found[f"{name}_p50_s"] = histogram.quantile(0.5)
            found[f"{name}_p95_s"] = histogram.quantile(0.95)
            found[f"{name}_count"] = histogram.count
    return {name: round(value, 4) for name, value in found.items() if value is not None}


async def _asleep(context: ToolContext) -> str:
    if context.target.kind != "cloud-run" or not context.target.service:
        return ""
    try:
        async with cloud_of(context) as cloud:
            count = await instance_count(cloud, context.target.service, context.target.location)
    except CloudError as error:
        return f"not asked: the number of instances could not be read ({error.message})"
    if count:
        return ""
    return "not asked: " + (
        "no instance is running" if count == 0 else "Monitoring has no recent number of instances"
    )
