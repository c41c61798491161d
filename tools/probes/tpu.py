"""The probes of a TPU: the request for capacity, the node it became."""

from __future__ import annotations

from tools.domain import Gap, Observation, QueuedResource, Scalar, Target
from tools.errors import CloudError
from tools.google.clients import Cloud
from tools.google.tpu import Node, list_nodes, list_queued_resources
from tools.logs.canonical import canonical_text
from tools.probes.seen import Seen, Shared

_WAITING = {"CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"}


async def probe_queued_resource(cloud: Cloud, target: Target, seen: Seen) -> None:
    """Look at the queued resource: how far it got, and why no further."""
    listed = await list_queued_resources(cloud, target.zone)
    chosen = [one for one in listed if target.service in {"", one.name, one.node}]
    if not chosen:
        name = f" {target.service}" if target.service else ""
        seen.gaps.append(
            Gap("queued-resource", f"there is no queued resource{name} in {_zone(cloud, target)}")
        )
        return
    seen.observations.append(_queued_observation(cloud, chosen[0]))


async def probe_node(cloud: Cloud, target: Target, seen: Seen, node: Shared[Node | None]) -> None:
    """Look at the node: its state, its health, its address."""
    try:
        listed = await list_nodes(cloud, target.zone)
    except CloudError as error:
        node.fail(error)
        raise
    chosen = [one for one in listed if target.service in {"", one.name, one.queued_resource}]
    node.put(chosen[0] if chosen else None)
    if not chosen:
        return
    found = chosen[0]
    facts: dict[str, Scalar] = {"tpu.node_state": found.state}
    if found.health and found.health != "HEALTH_UNSPECIFIED":
        facts["tpu.node_health"] = found.health
    seen.observations.append(
        Observation(
            source="tpu",
            ref=f"nodes/{found.name}",
            quote=canonical_text(found.health_description) or f"state: {found.state}",
            time=found.created,
            facts=facts,
        )
    )


def _queued_observation(cloud: Cloud, found: QueuedResource) -> Observation:
    facts: dict[str, Scalar] = {"tpu.state": found.state, "tpu.tier": found.tier}
    if found.state_message:
        facts["tpu.state_message"] = canonical_text(found.state_message)
    if found.accelerator:
        facts["tpu.accelerator"] = found.accelerator
    if found.created is not None and found.state in _WAITING:
        facts["tpu.waiting_s"] = max(0.0, (cloud.config.now() - found.created).total_seconds())
    return Observation(
        source="tpu",
        ref=f"queuedResources/{found.name}",
        quote=canonical_text(found.state_message) or f"state: {found.state}",
        time=found.created,
        facts=facts,
    )


def _zone(cloud: Cloud, target: Target) -> str:
    return target.zone or cloud.config.zone
