"""Find the endpoint: flag, environment or settings, Cloud Run service, TPU node; and say how."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import replace
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Kind, Service, Target
from tools.errors import CloudError, ConfigurationError, NotFound, UsageError
from tools.google.clients import Cloud
from tools.google.run import get_service, list_revisions, list_services
from tools.google.tpu import Node, list_nodes, list_queued_resources, node_url
from tools.vllm.answers import check_url

T = TypeVar("T")

_ZONE = re.compile(r"[a-z]+-[a-z]+\d+-[a-z]\Z")


async def discover(
    config: CloudConfig,
    endpoint: EndpointConfig,
    *,
    service: str = "",
    kind: Kind | Literal["auto"] = "auto",
    cloud: Cloud | None = None,
) -> Target:
    """Return the target: what is looked after, where it answers, and how that was found.

    A URL from a flag or the settings wins; with no name beside it, a run.app URL is looked up
    among the services, and any other is a local endpoint. Else a Cloud Run service of that name,
    else a TPU node or queued resource; with no name at all, the only service with a GPU, else the
    only node. A named service of a named kind costs no cloud call: the probes find its URL.

    Raises UsageError when several things could be meant, NotFound when there is nothing,
    ConfigurationError when nothing says where to look.
    """
    location, zone = split_location(config)
    base = Target(
        kind="cloud-run" if kind == "auto" else kind,
        service=service,
        project=config.project,
        location=location,
        zone=zone,
    )
    if endpoint.url:
        check_url(endpoint.url)
        url = endpoint.url.rstrip("/").removesuffix("/v1")
        base = replace(base, url=url, found_by=endpoint.found_by or "settings")
        if kind == "auto" and not service and not _is_run_app(url):
            return replace(base, kind="local")
    elif kind == "local":
        raise ConfigurationError("No URL is known.", fix="Set VLLM_BASE_URL or --url.")
    if kind not in {"auto", "cloud-run", "tpu"} or (service and kind != "auto"):
        return base
    if cloud is not None:
        return await _ask(cloud, base, kind)
    async with Cloud(config) as own:
        return await _ask(own, base, kind)


def split_location(config: CloudConfig) -> tuple[str, str]:
    """Return region and zone; a zone that was given as the location counts as both."""
    location, zone = config.location, config.zone
    if _ZONE.match(location):
        zone = zone or location
        location = location.rpartition("-")[0]
    return location, zone


async def _ask(cloud: Cloud, base: Target, kind: str) -> Target:
    if base.service:
        return await _named(cloud, base)
    services, nodes = await asyncio.gather(
        _or_error(list_services(cloud, base.location) if kind != "tpu" else _nothing()),
        _or_error(
            list_nodes(cloud, base.zone) if kind != "cloud-run" and base.zone else _nothing()
        ),
    )
    known_services = () if isinstance(services, CloudError) else services
    if base.url:
        return _with_url(base, known_services)
    found = [_service_target(base, one) for one in await _with_gpu(cloud, known_services)]
    if not found and not isinstance(nodes, CloudError):
        found = [_node_target(base, one) for one in nodes]
    if len(found) > 1:
        names = ", ".join(f"{one.service} ({one.location or one.zone})" for one in found)
        raise UsageError(f"There are several: {names}.", fix="Name the one that is meant.")
    if found:
        return found[0]
    for failure in (services, nodes):
        if isinstance(failure, CloudError):
            raise failure
    raise NotFound(
        f"No Cloud Run service with a GPU and no TPU node was found in project {cloud.project}.",
        fix="Name a service and its --location, or set VLLM_BASE_URL.",
    )


def _with_url(base: Target, services: tuple[Service, ...]) -> Target:
    # A run.app host can't be taken apart into a name, so the service is the one with this URL.
    for service in services:
        if service.url == base.url:
            return replace(_service_target(base, service), found_by=base.found_by)
    return base


async def _named(cloud: Cloud, base: Target) -> Target:
    service, nodes, queued = await asyncio.gather(
        _or_error(get_service(cloud, base.service, base.location)),
        _or_error(list_nodes(cloud, base.zone) if base.zone else _nothing()),
        _or_error(list_queued_resources(cloud, base.zone) if base.zone else _nothing()),
    )
    if not isinstance(service, CloudError):
        return _service_target(base, service)
    if not isinstance(nodes, CloudError):
        for node in nodes:
            if base.service in {node.name, node.queued_resource}:
                return _node_target(base, node)
    if not isinstance(queued, CloudError):
        for resource in queued:
            if base.service in {resource.name, resource.node}:
                return replace(base, kind="tpu", service=resource.name, zone=resource.zone)
    if isinstance(service, NotFound):
        raise service
    # It can't be told what the name stands for; the probes will say what they can't see.
    return base


async def _with_gpu(cloud: Cloud, services: tuple[Service, ...]) -> list[Service]:
    if len(services) < 2:
        return list(services)
    revisions = await asyncio.gather(
        *(_or_error(list_revisions(cloud, service, 1)) for service in services)
    )
    return [
        service
        for service, newest in zip(services, revisions, strict=True)
        if not isinstance(newest, CloudError) and newest and newest[0].accelerator
    ]


def _service_target(base: Target, service: Service) -> Target:
    return replace(
        base,
        kind="cloud-run",
        service=service.name,
        project=service.project,
        location=service.location,
        url=base.url or service.url,
        found_by=base.found_by or "Cloud Run service",
    )


def _node_target(base: Target, node: Node) -> Target:
    url = base.url or node_url(node)
    return replace(
        base,
        kind="tpu",
        service=node.name,
        zone=node.zone,
        url=url,
        found_by=base.found_by or ("TPU node" if url else ""),
    )


def _is_run_app(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith(".run.app")


async def _or_error(call: Awaitable[T]) -> T | CloudError:
    try:
        return await call
    except CloudError as error:
        return error


async def _nothing() -> tuple[()]:
    return ()
