"""list_revisions and show_changes: what was deployed, and what differs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from tools.domain import Observation, Revision, Service
from tools.errors import UsageError
from tools.google import run
from tools.google.changes import changes_between
from tools.google.clients import Cloud
from tools.logs.canonical import canonical_text
from tools.probes.cloud_run import failing_condition
from tools.reads.cloud import cloud_of, require_kind
from tools.tool import Bounds, Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def list_revisions(
    context: ToolContext, limit: Annotated[int, Bounds(1, 50)] = 10
) -> ToolResult:
    """List the newest revisions of the Cloud Run service: ready or not, why, since when."""
    require_kind(context, "cloud-run", "Revisions")
    async with cloud_of(context) as cloud:
        listed = await _listed(context, cloud, limit)
    rows = [_row(one) for one in listed]
    failed = sum(one.ready is False for one in listed)
    return ToolResult(
        summary=f"{len(listed)} revisions, {failed} of them failed",
        data=rows,
        observations=tuple(_observation(one) for one in listed),
    )


@tool(Effect.READ)
async def show_changes(context: ToolContext, before: str = "", after: str = "") -> ToolResult:
    """Show what differs between two revisions; without names, the last ready and the newest."""
    require_kind(context, "cloud-run", "Revisions")
    async with cloud_of(context) as cloud:
        listed = await _listed(context, cloud, 100)
    if not listed:
        raise UsageError("The service has no revisions.")
    bad = _named(listed, after) if after else listed[0]
    older = listed[listed.index(bad) + 1 :]
    good = _named(listed, before) if before else next((one for one in older if one.ready), None)
    if good is None:
        raise UsageError(f"No revision before {bad.name} became ready.", fix="Name one by before.")
    changes = changes_between(good, bad)
    return ToolResult(
        summary=f"{len(changes)} changes from {good.name} to {bad.name}",
        data={
            "before": good.name,
            "after": bad.name,
            "changes": [{k: v for k, v in asdict(one).items() if k != "time"} for one in changes],
        },
    )


async def _listed(context: ToolContext, cloud: Cloud, limit: int) -> tuple[Revision, ...]:
    target = context.target
    service = (
        Service(target.service, cloud.project, target.location)
        if target.location
        else await run.get_service(cloud, target.service)
    )
    return await run.list_revisions(cloud, service, limit)


def _named(listed: tuple[Revision, ...], name: str) -> Revision:
    for one in listed:
        if one.name == name:
            return one
    near = ", ".join(one.name for one in listed[:5])
    raise UsageError(f"There is no revision {name!r}.", fix=f"The newest are: {near}.")


def _row(one: Revision) -> dict[str, object]:
    failing = failing_condition(one)
    row: dict[str, object] = {
        "name": one.name,
        "created": one.created.isoformat() if one.created else None,
        "ready": one.ready,
        "image": one.image,
        "args": list(one.args),
        "accelerator": one.accelerator,
    }
    if failing:
        row |= {"reason": failing.reason, "message": canonical_text(failing.message)}
    return row


def _observation(one: Revision) -> Observation:
    failing = failing_condition(one)
    told = failing or next((c for c in one.conditions if c.type == "Ready"), None)
    words = canonical_text(told.message) if told else ""
    return Observation(
        source="run",
        ref=f"revisions/{one.name}",
        quote=words or f"Ready: {told.state if told else 'not reported'}",
        time=(told.time if told else None) or one.created,
    )
