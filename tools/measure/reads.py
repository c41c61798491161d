"""query_model and watch_metrics: measure the endpoint from within an investigation."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated

from tools.domain import Observation, Origin
from tools.errors import ConfigurationError, EndpointError
from tools.load.facts import read_facts
from tools.load.query import query_with_stats, read_metrics_of
from tools.logs.canonical import canonical_text
from tools.measure.reach import Reached, reach
from tools.measure.verdicts import Watch
from tools.measure.windows import MetricsWindow, Reading, window
from tools.tool import Bounds, Effect, ToolContext, ToolResult, tool

MAX_ANSWER = 300  # characters of the model's answer that are kept as evidence


@tool(Effect.READ)
async def query_model(
    context: ToolContext,
    prompt: str = "Say hello in five words.",
    max_tokens: Annotated[int, Bounds(1, 256)] = 32,
) -> ToolResult:
    """Ask the model once and measure: time to first token, time per token, finish reason."""
    reached = await _reach(context)
    if reached.asleep:
        return ToolResult(summary="not asked: no instance is running")
    facts = await read_facts(reached.endpoint, reached.token)
    stats = await query_with_stats(
        replace(reached.endpoint, model=facts.model),
        prompt,
        max_tokens=max_tokens,
        token=reached.token,
    )
    first = stats.ttft_reasoning if stats.ttft_content is None else stats.ttft_content
    parts = [stats.outcome, f"finish reason {stats.finish_reason or 'none'}"]
    if first is not None:
        parts.append(f"first token after {first:.0f} ms")
    if stats.tpot is not None:
        parts.append(f"{stats.tpot:.1f} ms per token")
    told = stats.to_json()
    # What a model answers is text that its caller controls: never evidence of a cause.
    for name in ("answer", "reasoning"):
        told[name] = canonical_text(told[name])[:MAX_ANSWER]
    return ToolResult(
        summary=", ".join(parts),
        data=told,
        observations=(
            Observation(
                "vllm", "POST /v1/chat/completions", ", ".join(parts), origin=Origin.PROCESS
            ),
        ),
    )


@tool(Effect.READ)
async def watch_metrics(
    context: ToolContext, seconds: Annotated[float, Bounds(1, 60)] = 5.0
) -> ToolResult:
    """Watch the server's metrics for some seconds: rates and quantiles of now, with verdicts."""
    reached = await _reach(context)
    if reached.asleep:
        return ToolResult(summary="not asked: no instance is running")
    before = await _read(reached)
    await asyncio.sleep(seconds)
    seen = window(before, await _read(reached))
    verdicts = Watch().judge(seen)
    found = [one for one in verdicts if one.state == "found"]
    words = "; ".join(f"{one.figure} {one.value:g}: {one.says}" for one in found if one.value)
    return ToolResult(
        summary=words or f"no threshold is broken, {_pace(seen)}",
        data={
            "window": {k: v for k, v in seen.to_json().items() if v is not None},
            "unknown": list(seen.unknown()),
            "verdicts": [one.to_json() for one in verdicts],
        },
        observations=(
            Observation(
                "vllm",
                f"GET /metrics, {seen.seconds:.1f} s",
                words or _pace(seen),
                origin=Origin.PROCESS,
            ),
        ),
    )


async def _reach(context: ToolContext) -> Reached:
    url = context.endpoint.url or context.target.url
    if not url:
        raise ConfigurationError("The endpoint's URL is not known.", fix="Set VLLM_BASE_URL.")
    return await reach(
        context.config,
        replace(context.endpoint, url=url),
        service=context.target.service,
        kind=context.target.kind,
        wake=False,
    )


async def _read(reached: Reached) -> Reading:
    metrics = await read_metrics_of(reached.endpoint, reached.token)
    if metrics is None:
        raise EndpointError("The endpoint gives no metrics.", fix="Check that it is up.")
    return Reading(time.monotonic(), metrics)


def _pace(seen: MetricsWindow) -> str:
    parts = [
        (seen.output_tokens_per_s, "{:.0f} output tokens/s"),
        (seen.running, "{:g} running"),
        (seen.waiting, "{:g} waiting"),
    ]
    told = [form.format(value) for value, form in parts if value is not None]
    return ", ".join(told) or "the server tells nothing of its load"
