"""read_series: time series of the target from Cloud Monitoring."""

from __future__ import annotations

from typing import Annotated, Literal

from tools.domain import Series
from tools.errors import UsageError
from tools.google import monitoring
from tools.reads.cloud import cloud_of
from tools.tool import Bounds, Effect, ToolContext, ToolResult, tool

SeriesName = Literal[
    "instances", "requests", "latency", "startup", "cpu", "memory", "gpu", "gpu_memory"
]

# The strings stand in tools/google/names.toml with their sources; those of the GPU are unconfirmed.
METRICS: dict[str, str] = {
    "instances": "run.googleapis.com/container/instance_count",
    "requests": "run.googleapis.com/request_count",
    "latency": "run.googleapis.com/request_latencies",
    "startup": "run.googleapis.com/container/startup_latencies",
    "cpu": "run.googleapis.com/container/cpu/utilizations",
    "memory": "run.googleapis.com/container/memory/utilizations",
    "gpu": "run.googleapis.com/container/gpu/utilizations",
    "gpu_memory": "run.googleapis.com/container/gpu/memory_utilizations",
}
_TPU_METRICS: dict[str, str] = {
    "cpu": "tpu.googleapis.com/cpu/utilization",
    "memory": "tpu.googleapis.com/memory/usage",
    "gpu": "tpu.googleapis.com/accelerator/tensorcore_utilization",
    "gpu_memory": "tpu.googleapis.com/accelerator/memory_used",
}
_SHOWN_POINTS = 60


@tool(Effect.READ)
async def read_series(
    context: ToolContext,
    metric: SeriesName,
    minutes: Annotated[int, Bounds(1, 10_080)] = 60,
) -> ToolResult:
    """Read one metric of the target over time, newest point first. For the value now,
    read_metrics is quicker.
    """
    target = context.target
    known = _TPU_METRICS if target.kind == "tpu" else METRICS if target.kind == "cloud-run" else {}
    if metric not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"{target.kind} has no {metric} series.", fix=f"It has: {names}.")
    labels = (
        {"resource.zone": target.zone}
        if target.kind == "tpu"
        else {"resource.service_name": target.service}
    )
    async with cloud_of(context) as cloud:
        found = await monitoring.read_series(cloud, known[metric], labels, minutes)
    return ToolResult(
        summary="; ".join(_line(one) for one in found[:5]) or "no points in this time",
        data=[_row(one) for one in found],
    )


def _line(one: Series) -> str:
    values = [point.value for point in one.points]
    if not values:
        return "no points"
    name = ", ".join(value for key, value in one.labels.items() if key.startswith("metric."))
    shown = f"now {values[0]:g}, least {min(values):g}, most {max(values):g} {one.unit}".rstrip()
    return f"{name}: {shown}" if name else shown


def _row(one: Series) -> dict[str, object]:
    return {
        "labels": dict(one.labels),
        "unit": one.unit,
        "points": [
            [point.time.isoformat(), round(point.value, 4)] for point in one.points[:_SHOWN_POINTS]
        ],
    }
