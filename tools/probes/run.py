"""Everything that can be seen of a target, asked at once.

The longest chain of dependent cloud calls is three: find the service's region, list its
revisions, read the newest revision's own log entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Gap, Probe, Revision, Service, Target
from tools.errors import CloudError, CloudUnavailable, UsageError
from tools.google.clients import Cloud
from tools.google.tpu import Node, node_url
from tools.probes.cloud_run import probe_instances, probe_revisions, probe_service
from tools.probes.endpoint import ask_cloud_run_endpoint, ask_endpoint, reached
from tools.probes.logs import Window, probe_logs
from tools.probes.seen import OnEvent, Seen, Shared, run_probe
from tools.probes.tpu import probe_node, probe_queued_resource

Look = Callable[[Seen], Awaitable[None]]


@dataclass(slots=True)
class _Plan:
    """The probes of one run, and the target as they come to know it."""

    target: Target
    looks: list[tuple[str, Look, Iterable[Shared[Any]]]] = field(default_factory=list)

    def add(self, name: str, look: Look, *gives: Shared[Any]) -> None:
        self.looks.append((name, look, gives))


async def run_probes(
    target: Target,
    config: CloudConfig,
    endpoint: EndpointConfig,
    *,
    window: Window,
    wake: bool = False,
    on_event: OnEvent | None = None,
    cloud: Cloud | None = None,
    only: frozenset[str] | None = None,
) -> tuple[Target, tuple[Probe, ...]]:
    """Return the target, with what was found out about it, and what each probe saw.

    ``window`` is the time that logs are read of, in UTC. ``wake`` lets the endpoint probe start
    an instance of a service that is scaled to zero. ``on_event`` is called with a probe's name
    and ``started``, then ``ok``, ``failed`` or ``skipped`` and the probe. What can't be seen
    becomes a gap, never an exception. ``only`` restricts the probes by name; one that waits for
    another needs it too. ``cloud`` is used, and left open, when it is given.
    """
    async with AsyncExitStack() as stack:
        if cloud is None and target.kind != "local":
            cloud = await stack.enter_async_context(Cloud(config))
        plan = _Plan(target)
        if cloud is None:
            _plan_local(plan, config, endpoint)
        elif target.kind == "cloud-run":
            _plan_cloud_run(plan, cloud, endpoint, window, wake=wake)
        elif target.kind == "tpu":
            _plan_tpu(plan, cloud, endpoint, window)
        else:
            _plan_other(plan, cloud, endpoint, window)
        probes = await asyncio.gather(
            *(
                run_probe(name, look, gives=gives, on_event=on_event)
                for name, look, gives in plan.looks
                if only is None or name in only
            )
        )
        return plan.target, tuple(probes)


def _plan_local(plan: _Plan, config: CloudConfig, endpoint: EndpointConfig) -> None:
    url = endpoint.url or plan.target.url

    async def look(seen: Seen) -> None:
        if not url:
            seen.gaps.append(Gap("endpoint", "no URL is known", "set VLLM_BASE_URL"))
            return
        await ask_endpoint(reached(endpoint, url), config, seen)

    plan.add("endpoint", look)


def _plan_cloud_run(
    plan: _Plan, cloud: Cloud, endpoint: EndpointConfig, window: Window, *, wake: bool
) -> None:
    target = plan.target
    if not endpoint.url and target.url:
        endpoint = reached(endpoint, target.url)
    service: Shared[Service] = Shared()
    revisions: Shared[tuple[Revision, ...]] = Shared()
    instances: Shared[int | None] = Shared()

    async def look_at_service(seen: Seen) -> None:
        if not target.service:
            raise UsageError("No Cloud Run service is named.", fix="Name it, and its --location.")
        await probe_service(cloud, target, seen, service)
        try:
            found = await service.get()
        except CloudError:
            return
        plan.target = replace(
            target,
            project=found.project,
            location=found.location,
            url=target.url or endpoint.url or found.url,
            found_by=target.found_by or endpoint.found_by or "Cloud Run service",
        )

    async def look_at_endpoint(seen: Seen) -> None:
        await ask_cloud_run_endpoint(endpoint, cloud.config, seen, service, instances, wake=wake)

    plan.add("service", look_at_service, service)
    if not target.service:
        instances.fail(CloudUnavailable("no service is named"))
        plan.add("endpoint", look_at_endpoint)
        return
    plan.add(
        "revisions",
        lambda seen: probe_revisions(cloud, target, seen, service, revisions),
        revisions,
    )
    plan.add("logs", lambda seen: probe_logs(cloud, target, window, seen, revisions))
    plan.add("instances", lambda seen: probe_instances(cloud, target, seen, instances), instances)
    plan.add("endpoint", look_at_endpoint)


def _plan_tpu(plan: _Plan, cloud: Cloud, endpoint: EndpointConfig, window: Window) -> None:
    target = plan.target = replace(plan.target, zone=plan.target.zone or cloud.config.zone)
    node: Shared[Node | None] = Shared()
    url = endpoint.url or target.url

    async def look_at_endpoint(seen: Seen) -> None:
        found = url
        if not found:
            try:
                known = await node.get()
            except CloudError as error:
                seen.gaps.append(Gap("endpoint", f"its URL is unknown: {error.message}"))
                return
            found = node_url(known) if known else ""
            if not found:
                seen.skipped = True
                seen.gaps.append(Gap("endpoint", "no node with an address exists yet"))
                return
            plan.target = replace(
                plan.target, url=found, found_by=plan.target.found_by or "TPU node"
            )
        await ask_endpoint(reached(endpoint, found), cloud.config, seen)

    async def look_at_logs(seen: Seen) -> None:
        await probe_logs(cloud, target, window, seen)
        try:
            known = await node.get()
        except CloudError:
            return
        # Entries are read by zone, where other nodes may write too.
        names = {target.service, known.name if known else ""} - {""}
        own = [record for record in seen.records if record.service in names]
        if own:
            seen.records[:] = own

    plan.add("queued-resource", lambda seen: probe_queued_resource(cloud, target, seen))
    plan.add("node", lambda seen: probe_node(cloud, target, seen, node), node)
    plan.add("logs", look_at_logs)
    plan.add("endpoint", look_at_endpoint)


def _plan_other(plan: _Plan, cloud: Cloud, endpoint: EndpointConfig, window: Window) -> None:
    target = plan.target
    url = endpoint.url or target.url

    async def control_plane(seen: Seen) -> None:
        seen.skipped = True
        seen.gaps.append(
            Gap("control plane", f"gemma-sre does not ask that of {target.kind} in this version")
        )

    plan.add("control-plane", control_plane)
    plan.add("logs", lambda seen: probe_logs(cloud, target, window, seen))
    if url:
        plan.add("endpoint", lambda seen: ask_endpoint(reached(endpoint, url), cloud.config, seen))
