"""Cloud Run: services, revisions and their conditions."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Awaitable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tools.domain import Condition, Revision, Service
from tools.errors import CloudError, NotFound, UsageError
from tools.google.clients import Cloud
from tools.google.redaction import shown_args, shown_env
from tools.google.times import utc

if TYPE_CHECKING:
    from google.cloud import run_v2

T = TypeVar("T")

_PAGE = 100


@cache
def gpu_regions() -> tuple[str, ...]:
    """Return the regions in which Cloud Run offers GPUs (``regions.toml``)."""
    text = Path(__file__).with_name("regions.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["accelerator"]
    return tuple(dict.fromkeys(region for row in rows for region in row["regions"]))


async def get_service(cloud: Cloud, name: str, location: str = "") -> Service:
    """Return a service; raises NotFound, UsageError if it exists in several regions.

    Without a location the regions with GPUs are asked at once.
    """
    if location:
        return await _get_service(cloud, name, location)
    found, failures = await _each_region(
        [_get_service(cloud, name, region) for region in gpu_regions()]
    )
    if len(found) > 1:
        places = ", ".join(service.location for service in found)
        raise UsageError(f"The service {name} exists in {places}.", fix="Name one by --location.")
    if found:
        return found[0]
    refused = [error for error in failures if not isinstance(error, NotFound)]
    if refused:
        raise refused[0]
    raise NotFound(
        f"run: no service {name} in the regions with GPUs of project {cloud.project}.",
        fix="Name its region by --location.",
        api="run",
    )


async def list_services(cloud: Cloud, location: str = "") -> tuple[Service, ...]:
    """Return the services of a location, of every region with GPUs when none is named."""
    if location:
        return await _list_services(cloud, location)
    found, failures = await _each_region(
        [_list_services(cloud, region) for region in gpu_regions()]
    )
    if failures and not any(found):
        raise failures[0]
    return tuple(service for services in found for service in services)


async def list_revisions(cloud: Cloud, service: Service, limit: int = 20) -> tuple[Revision, ...]:
    """Return the newest revisions of a service, newest first; raises a CloudError."""
    from google.cloud import run_v2

    request = run_v2.ListRevisionsRequest(
        parent=f"projects/{service.project}/locations/{service.location}/services/{service.name}",
        page_size=_PAGE,
    )
    found: list[Revision] = []
    while True:
        page: Any = await cloud.call("run", cloud.revisions.list_revisions, request)
        found.extend(revision_from(row) for row in page.revisions)
        if not page.next_page_token or len(found) >= _PAGE * 5:
            break
        request.page_token = page.next_page_token
    found.sort(key=lambda one: (one.created is not None, one.created, one.name), reverse=True)
    return tuple(found[:limit])


def service_from(row: run_v2.Service) -> Service:
    """Return our service for Cloud Run's."""
    _, project, _, location, _, name = row.name.split("/")
    traffic: dict[str, int] = {}
    latest_ready = _last(row.latest_ready_revision)
    for status in row.traffic_statuses:
        revision = _last(status.revision) or latest_ready
        if revision and status.percent:
            traffic[revision] = traffic.get(revision, 0) + status.percent
    conditions = [*row.conditions]
    if row.terminal_condition.type_:
        conditions.insert(0, row.terminal_condition)
    return Service(
        name=name,
        project=project,
        location=location,
        url=row.uri.rstrip("/"),
        latest_ready=latest_ready,
        latest_created=_last(row.latest_created_revision),
        traffic=traffic,
        conditions=_conditions(conditions),
        reconciling=row.reconciling,
        labels=dict(row.labels),
        min_instances=max(row.scaling.min_instance_count, row.template.scaling.min_instance_count),
    )


def revision_from(row: run_v2.Revision) -> Revision:
    """Return our revision for Cloud Run's; secrets in its environment stay out of it."""
    container = row.containers[0] if row.containers else None
    conditions = _conditions(row.conditions)
    return Revision(
        name=_last(row.name),
        created=utc(row.create_time),
        ready=_ready(conditions),
        conditions=conditions,
        image=container.image if container else "",
        args=shown_args([*container.command, *container.args]) if container else (),
        env=shown_env(_env(container.env)) if container else {},
        service_account=row.service_account,
        resources=dict(container.resources.limits) if container else {},
        accelerator=row.node_selector.accelerator,
        startup_probe=_probe(container.startup_probe) if container else {},
        min_instances=row.scaling.min_instance_count,
        max_instances=row.scaling.max_instance_count,
        concurrency=row.max_instance_request_concurrency,
        labels=dict(row.labels),
    )


async def _get_service(cloud: Cloud, name: str, location: str) -> Service:
    from google.cloud import run_v2

    request = run_v2.GetServiceRequest(
        name=f"projects/{cloud.project}/locations/{location}/services/{name}"
    )
    return service_from(await cloud.call("run", cloud.services.get_service, request))


async def _list_services(cloud: Cloud, location: str) -> tuple[Service, ...]:
    from google.cloud import run_v2

    request = run_v2.ListServicesRequest(
        parent=f"projects/{cloud.project}/locations/{location}", page_size=_PAGE
    )
    found: list[Service] = []
    while True:
        page: Any = await cloud.call("run", cloud.services.list_services, request)
        found.extend(service_from(row) for row in page.services)
        if not page.next_page_token:
            return tuple(found)
        request.page_token = page.next_page_token


async def _each_region(calls: Iterable[Awaitable[T]]) -> tuple[list[T], list[CloudError]]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    found: list[T] = []
    failures: list[CloudError] = []
    for result in results:
        if isinstance(result, CloudError):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            found.append(result)
    return found, failures


def _conditions(rows: Iterable[run_v2.Condition]) -> tuple[Condition, ...]:
    found: dict[str, Condition] = {}
    for row in rows:
        if row.type_ not in found:
            found[row.type_] = Condition(
                type=row.type_,
                state=row.state.name,
                reason=_reason(row),
                message=row.message,
                time=utc(row.last_transition_time),
            )
    return tuple(found.values())


def _reason(row: run_v2.Condition) -> str:
    for name in ("reason", "revision_reason", "execution_reason"):
        value = getattr(row, name)
        if value:
            return str(getattr(value, "name", value))
    return ""


def _ready(conditions: Iterable[Condition]) -> bool | None:
    for condition in conditions:
        if condition.type == "Ready":
            if condition.state == "CONDITION_SUCCEEDED":
                return True
            # A retired revision no longer says whether it ever served.
            failed = condition.state == "CONDITION_FAILED" and condition.reason != "RETIRED"
            return False if failed else None
    return None


def _env(rows: Iterable[run_v2.EnvVar]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        reference = row.value_source.secret_key_ref
        if reference.secret:
            found[row.name] = f"secret:{_last(reference.secret)}:{reference.version or 'latest'}"
        else:
            found[row.name] = row.value
    return found


def _probe(row: run_v2.Probe) -> dict[str, int | str]:
    # Cloud Run's defaults for what is not set: run_v2.Probe of google-cloud-run 0.16.2.
    kind = type(row).pb(row).WhichOneof("probe_type")
    if not kind:
        return {}
    found: dict[str, int | str] = {
        "type": {"http_get": "http", "tcp_socket": "tcp", "grpc": "grpc"}[kind],
        "initial_delay_s": row.initial_delay_seconds,
        "timeout_s": row.timeout_seconds or 1,
        "period_s": row.period_seconds or 10,
        "failure_threshold": row.failure_threshold or 3,
    }
    if kind == "http_get":
        found["path"] = row.http_get.path or "/"
    port = getattr(row, kind).port
    if port:
        found["port"] = port
    return found


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
