"""delete_queued_resource: give up a TPU request that this program made."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any

from tools.domain import Observation, QueuedResource
from tools.errors import ApprovalStale, CloudError, NotFound, UsageError
from tools.google import tpu
from tools.google.clients import Cloud
from tools.google.operations import OperationFailed, ask_once, follow, unfinished
from tools.reads.cloud import cloud_of, require_kind
from tools.tool import Effect, Preview, Reconciled, ToolContext, ToolResult, state_digest, tool

# Only what carries this label is ours to delete.
OWNER = ("managed-by", "gemma-sre")
# While it holds or builds a node, the API deletes both, and only when forced.
_HOLDS_A_NODE = frozenset({"ACTIVE", "PROVISIONING"})


async def preview_delete(context: ToolContext, name: str) -> Preview:
    """Return what deleting the queued resource would do; raises UsageError if it may not be."""
    async with cloud_of(context) as cloud:
        found = await _ours(context, cloud, name)
    holds = found.state in _HOLDS_A_NODE
    lost = f"The node {found.node} and all that runs on it are deleted with it. " if holds else ""
    return Preview(
        does=f"Delete the queued resource {name} ({found.accelerator}, {found.zone}), which is "
        f"{found.state}.",
        before=_before(found),
        after={"exists": False},
        state=_digest(found),
        blast_radius=f"{lost}Its place in the queue of {found.zone} is lost.",
        undo="none: it can be requested anew, and there may be no capacity then",
        cost="" if holds else "none: a request without a node is not billed",
        confirm=name,
    )


async def reconcile_delete(
    context: ToolContext, before: Mapping[str, Any], name: str
) -> Reconciled:
    """Say from the live state whether a deletion that nobody saw end was carried out."""
    async with cloud_of(context) as cloud:
        certain = await _wait_for_deletions(cloud, name, context.target.zone)
        try:
            found = await tpu.get_queued_resource(cloud, name, context.target.zone)
        except NotFound:
            return Reconciled("done", f"{name} is gone")
    now = _before(found)
    if now["created"] != before.get("created"):
        return Reconciled("done", f"{name} is another one now, made at {now['created']}")
    seen = f"{name} still exists and is {found.state}"
    if certain and found.state == before.get("state"):
        return Reconciled("not_done", seen)
    return Reconciled("unknown", f"{seen}; it may still be under way")


@tool(Effect.DESTROY, preview=preview_delete, reconcile=reconcile_delete)
async def delete_queued_resource(
    context: ToolContext, name: Annotated[str, "one that list_queued_resources shows"]
) -> ToolResult:
    """Delete a TPU queued resource that gemma-sre made, with its node if it has one."""
    from google.cloud import tpu_v2alpha1

    async with cloud_of(context) as cloud:
        found = await _ours(context, cloud, name)
        if context.approved and context.approved != _digest(found):
            raise ApprovalStale(f"{name} changed since this was approved; nothing was done.")
        request = tpu_v2alpha1.DeleteQueuedResourceRequest(
            name=f"projects/{found.project}/locations/{found.zone}/queuedResources/{name}",
            force=found.state in _HOLDS_A_NODE,
        )
        operation = await ask_once(cloud, "tpu", cloud.tpu.delete_queued_resource, request)
        await follow(cloud, "tpu", cloud.tpu, operation)
    return ToolResult(
        summary=f"Done; the queued resource {name} is deleted.",
        data={"before": _before(found), "after": {"exists": False}},
        observations=(Observation("tpu", f"queuedResources/{name}", "deleted"),),
    )


async def _ours(context: ToolContext, cloud: Cloud, name: str) -> QueuedResource:
    require_kind(context, "tpu", "Queued resources")
    listed = await tpu.list_queued_resources(cloud, context.target.zone)
    for one in listed:
        if one.name == name:
            key, value = OWNER
            if one.labels.get(key) != value:
                raise UsageError(
                    f"{name} lacks the label {key}={value}: it is not gemma-sre's to delete."
                )
            return one
    known = ", ".join(one.name for one in listed) or "none"
    raise UsageError(f"There is no queued resource {name!r}.", fix=f"There are: {known}.")


async def _wait_for_deletions(cloud: Cloud, name: str, zone: str) -> bool:
    """Wait until no operation on the resource is under way; return whether that is certain."""
    from google.cloud import tpu_v2alpha1

    parent = f"projects/{cloud.project}/locations/{zone or cloud.config.zone}"
    try:
        for operation in await unfinished(cloud, "tpu", cloud.tpu, parent):
            about: Any = tpu_v2alpha1.OperationMetadata.pb()()
            operation.metadata.Unpack(about)
            if not about.target or about.target.endswith(f"/{name}"):
                with contextlib.suppress(NotFound, OperationFailed):
                    await follow(cloud, "tpu", cloud.tpu, operation.name)
    except CloudError:
        return False
    return True


def _before(found: QueuedResource) -> dict[str, Any]:
    return {
        "exists": True,
        "state": found.state,
        "node": found.node,
        "created": found.created.isoformat() if found.created else "",
    }


def _digest(found: QueuedResource) -> str:
    return state_digest({**_before(found), "zone": found.zone, "labels": dict(found.labels)})
