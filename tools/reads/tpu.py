"""list_queued_resources: requests for TPU capacity."""

from __future__ import annotations

from tools.domain import Observation
from tools.google import tpu
from tools.logs.canonical import canonical_text
from tools.reads.cloud import cloud_of, require_kind
from tools.tool import Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def list_queued_resources(context: ToolContext) -> ToolResult:
    """List the TPU queued resources of the zone: state, why it failed, accelerator, tier."""
    require_kind(context, "tpu", "Queued resources")
    async with cloud_of(context) as cloud:
        listed = await tpu.list_queued_resources(cloud, context.target.zone)
    states = ", ".join(f"{one.name} {one.state}" for one in listed[:5])
    return ToolResult(
        summary=f"{len(listed)} queued resources" + (f": {states}" if states else ""),
        data=[
            {
                "name": one.name,
                "state": one.state,
                "message": canonical_text(one.state_message),
                "accelerator": one.accelerator,
                "tier": one.tier,
                "node": one.node,
                "created": one.created.isoformat() if one.created else None,
            }
            for one in listed
        ],
        observations=tuple(
            Observation(
                source="tpu",
                ref=f"queuedResources/{one.name}",
                quote=canonical_text(one.state_message) or f"state: {one.state}",
                time=one.created,
            )
            for one in listed
        ),
    )
