"""Cloud Run: which revisions a service's traffic goes to, and sending it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tools.errors import CloudError, NotFound
from tools.google.clients import Cloud
from tools.google.operations import OperationFailed, ask_once, follow, unfinished

if TYPE_CHECKING:
    from google.cloud import run_v2

LATEST = "LATEST"


@dataclass(frozen=True, slots=True)
class Traffic:
    """A service's traffic: as it was asked for, and as it is; per cent by revision.

    In ``wanted`` the name LATEST stands for "the latest ready revision, whichever it is".
    """

    service: str  # full resource name
    etag: str
    generation: int
    wanted: Mapping[str, int]
    actual: Mapping[str, int]
    reconciling: bool
    url: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)  # tag → revision or LATEST


async def read_traffic(cloud: Cloud, service: str, location: str) -> Traffic:
    """Return where a service's traffic goes now; raises NotFound."""
    from google.cloud import run_v2

    name = f"projects/{cloud.project}/locations/{location}/services/{service}"
    row: run_v2.Service = await cloud.call(
        "run", cloud.services.get_service, run_v2.GetServiceRequest(name=name)
    )
    latest = row.latest_ready_revision.rpartition("/")[2]
    actual: dict[str, int] = {}
    for status in row.traffic_statuses:
        revision = status.revision.rpartition("/")[2] or latest
        if status.percent:
            actual[revision] = actual.get(revision, 0) + status.percent
    wanted: dict[str, int] = {}
    tags: dict[str, str] = {}
    for target in row.traffic:
        revision = target.revision or LATEST
        if target.tag:
            tags[target.tag] = revision
        if target.percent:
            wanted[revision] = wanted.get(revision, 0) + target.percent
    return Traffic(
        service=row.name,
        etag=row.etag,
        generation=row.generation,
        wanted=wanted,
        actual=actual,
        reconciling=row.reconciling,
        url=row.uri.rstrip("/"),
        tags=tags,
    )


async def send_traffic(cloud: Cloud, now: Traffic, revision: str) -> None:
    """Send all traffic to one revision and wait until it goes there; tags stay where they are.

    ``now`` must be what was just read: its etag makes the service refuse the change when somebody
    else was faster. Raises a CloudError; after CloudUnavailable the outcome is not known.
    """
    from google.cloud import run_v2
    from google.protobuf import field_mask_pb2

    targets = [_target(revision, percent=100)]
    targets += [_target(name, tag=tag) for tag, name in now.tags.items()]
    request = run_v2.UpdateServiceRequest(
        service=run_v2.Service(name=now.service, etag=now.etag, traffic=targets),
        update_mask=field_mask_pb2.FieldMask(paths=["traffic"]),
    )
    operation = await ask_once(cloud, "run", cloud.services.update_service, request)
    await follow(cloud, "run", cloud.services, operation)


async def wait_for_changes(cloud: Cloud, service: str, location: str) -> bool:
    """Wait until no change of the service is under way; return whether that is certain."""
    from google.cloud import run_v2

    parent = f"projects/{cloud.project}/locations/{location}"
    try:
        for operation in await unfinished(cloud, "run", cloud.services, parent):
            about: Any = run_v2.Service.pb()()
            if not operation.metadata.Unpack(about) or about.name.endswith(f"/services/{service}"):
                await _end_of(cloud, operation.name)
    except CloudError:
        return False
    return True


async def _end_of(cloud: Cloud, name: str) -> None:
    try:
        await follow(cloud, "run", cloud.services, name)
    except (NotFound, OperationFailed):
        return  # ended, however it did: the service itself says where its traffic goes


def _target(revision: str, *, percent: int = 0, tag: str = "") -> run_v2.TrafficTarget:
    from google.cloud import run_v2

    kinds = run_v2.TrafficTargetAllocationType
    if revision == LATEST:
        kind = kinds.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
        return run_v2.TrafficTarget(type_=kind, percent=percent, tag=tag)
    kind = kinds.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    return run_v2.TrafficTarget(type_=kind, revision=revision, percent=percent, tag=tag)
