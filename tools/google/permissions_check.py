"""``gemma-sre check``: what of our own set-up works, one line each, by harmless reads."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Scalar, Service, Target
from tools.errors import CloudError, ConfigurationError, NotFound, PermissionMissing, RequestRefused
from tools.google.clients import Cloud
from tools.google.errors import roles_granting
from tools.google.logging import LogQuery, read_records
from tools.google.monitoring import INSTANCE_COUNT, read_series
from tools.google.quoting import quoted
from tools.google.run import get_service, gpu_regions, list_revisions, list_services
from tools.google.tpu import list_nodes, list_queued_resources
from tools.probes.run import run_probes


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked; ``role`` grants what is missing."""

    name: str
    ok: bool
    detail: str = ""
    role: str = ""


NameState = Literal["confirmed", "not seen", "unknown"]


@dataclass(frozen=True, slots=True)
class NameCheck:
    """What a real project said of a name in ``names.toml``.

    ``confirmed``: the project has it. ``not seen``: it is a valid question, and the project has
    nothing of it now. ``unknown``: the service refused the name, or could not be asked.
    """

    name: str
    kind: str
    state: NameState
    detail: str = ""


async def check_access(
    cloud: Cloud, target: Target, endpoint: EndpointConfig | None = None
) -> AsyncIterator[Check]:
    """Yield a check of the credentials, the project, and each permission that a target needs.

    With an endpoint also: does it answer, and how much context does its model take. A service
    that sleeps is not woken for that.
    """
    async for check in _cloud_checks(cloud, target):
        yield check
    if endpoint is not None:
        for check in await check_endpoint(cloud.config, target, endpoint, cloud=cloud):
            yield check


async def check_endpoint(
    config: CloudConfig, target: Target, endpoint: EndpointConfig, *, cloud: Cloud | None = None
) -> tuple[Check, ...]:
    """Return whether the endpoint answers, and its model's context; for a local target too."""
    now = config.now()
    _, probes = await run_probes(
        target,
        config,
        endpoint,
        window=(now, now),
        cloud=cloud,
        only=frozenset({"service", "instances", "node", "endpoint"}),
    )
    facts: dict[str, Scalar] = {}
    for probe in probes:
        for observation in probe.observations:
            facts |= observation.facts
    state = str(facts.get("endpoint.state", "unknown"))
    why = "; ".join(str(gap) for probe in probes if probe.name == "endpoint" for gap in probe.gaps)
    window = facts.get("endpoint.window")
    return (
        Check("endpoint", ok=state == "ready", detail=state + (f": {why}" if why else "")),
        Check(
            "model context",
            ok=window is not None,
            detail=f"{facts.get('endpoint.model', 'model')}: {window} tokens"
            if window is not None
            else "the endpoint did not say",
        ),
    )


async def _cloud_checks(cloud: Cloud, target: Target) -> AsyncIterator[Check]:
    try:
        cloud.require_credentials()
    except CloudError as error:
        yield Check("credentials", ok=False, detail=str(error))
        return
    yield Check("credentials", ok=True, detail=cloud.account or _whose(cloud))
    try:
        yield Check("project", ok=True, detail=cloud.project)
    except ConfigurationError as error:
        yield Check("project", ok=False, detail=str(error))
        return
    reads = _reads(cloud, target)
    results = await asyncio.gather(*(_try(name, read) for name, read in reads))
    for check in results:
        yield check


async def check_names(cloud: Cloud) -> AsyncIterator[NameCheck]:
    """Yield, for each name of ``names.toml``, whether a real project knows it; read-only.

    Metrics by ListMetricDescriptors, logs and resource types by one entry of the last day.
    """
    text = Path(__file__).with_name("names.toml").read_text(encoding="utf-8")
    for row in tomllib.loads(text)["name"]:
        name, kind = str(row["name"]), str(row["kind"])
        try:
            seen = await _name_seen(cloud, name, kind)
        except RequestRefused as error:
            yield NameCheck(name, kind, "unknown", error.message)
        except CloudError as error:
            yield NameCheck(name, kind, "unknown", f"could not be asked: {error}")
        else:
            yield NameCheck(name, kind, "confirmed" if seen else "not seen")


def _whose(cloud: Cloud) -> str:
    return "none: a simulated cloud" if cloud.config.loopback else "a person's, or a key file's"


def _reads(cloud: Cloud, target: Target) -> list[tuple[str, Callable[[], Awaitable[Any]]]]:
    location = target.location or gpu_regions()[0]
    reads: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("logging.logEntries.list", lambda: _one_entry(cloud, LogQuery())),
        ("monitoring.timeSeries.list", lambda: read_series(cloud, INSTANCE_COUNT, {}, 5)),
    ]
    if target.kind == "cloud-run":
        reads.append(("run.services.list", lambda: list_services(cloud, location)))
        if target.service:
            reads.append(("run.services.get", lambda: get_service(cloud, target.service, location)))
            reads.append(("run.revisions.list", lambda: _revisions(cloud, target, location)))
    if target.kind == "tpu":
        reads.append(
            ("tpu.queuedResources.list", lambda: list_queued_resources(cloud, target.zone))
        )
        reads.append(("tpu.nodes.list", lambda: list_nodes(cloud, target.zone)))
    return reads


async def _try(permission: str, read: Callable[[], Awaitable[Any]]) -> Check:
    try:
        await read()
    except PermissionMissing as error:
        roles = error.roles or roles_granting(permission)
        return Check(permission, ok=False, detail=str(error), role=roles[0] if roles else "")
    except NotFound as error:
        # The permission is there: what was asked for is not.
        return Check(permission, ok=True, detail=error.message)
    except (CloudError, ConfigurationError) as error:
        return Check(permission, ok=False, detail=str(error))
    return Check(permission, ok=True)


async def _revisions(cloud: Cloud, target: Target, location: str) -> None:
    await list_revisions(cloud, Service(target.service, cloud.project, location), 1)


async def _one_entry(cloud: Cloud, query: LogQuery) -> bool:
    return bool([record async for record in read_records(cloud, query, 1)])


async def _name_seen(cloud: Cloud, name: str, kind: str) -> bool:
    now = cloud.config.now()
    day = LogQuery(start=now - timedelta(days=1), end=now, oldest_first=False)
    match kind:
        case "metric":
            return await _descriptor_seen(cloud, name)
        case "log":
            query = LogQuery(log_ids=(name,), start=day.start, end=day.end, oldest_first=False)
        case _:
            query = LogQuery(resource_types=(name,), start=day.start, end=day.end)
    return await _one_entry(cloud, query)


async def _descriptor_seen(cloud: Cloud, name: str) -> bool:
    from google.cloud.monitoring_v3.types import ListMetricDescriptorsRequest

    page: Any = await cloud.call(
        "monitoring",
        cloud.monitoring.list_metric_descriptors,
        ListMetricDescriptorsRequest(
            name=f"projects/{cloud.project}", filter=f"metric.type = {quoted(name)}", page_size=1
        ),
    )
    return any(one.type == name for one in page.metric_descriptors)
