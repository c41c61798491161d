"""Cloud TPU: queued resources and nodes (API v2alpha1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tools.domain import QueuedResource
from tools.errors import ConfigurationError
from tools.google.clients import Cloud
from tools.google.times import utc

if TYPE_CHECKING:
    from google.cloud import tpu_v2alpha1

_PAGE = 100
VLLM_PORT = 8000  # the default of `vllm serve --port`, vLLM 0.32


@dataclass(frozen=True, slots=True)
class Node:
    """A TPU node: its state, its health, and where it can be reached."""

    name: str
    zone: str
    state: str  # CREATING, READY, PREEMPTED, STOPPED …
    health: str = ""
    health_description: str = ""
    accelerator: str = ""
    runtime: str = ""
    address: str = ""  # the external address if there is one, else the internal one
    internal: bool = False
    queued_resource: str = ""
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


async def get_queued_resource(cloud: Cloud, name: str, zone: str = "") -> QueuedResource:
    """Return a queued resource by name; raises NotFound."""
    from google.cloud import tpu_v2alpha1

    request = tpu_v2alpha1.GetQueuedResourceRequest(
        name=f"{_parent(cloud, zone)}/queuedResources/{name}"
    )
    return queued_resource_from(await cloud.call("tpu", cloud.tpu.get_queued_resource, request))


async def list_queued_resources(cloud: Cloud, zone: str = "") -> tuple[QueuedResource, ...]:
    """Return the queued resources of a zone, newest first."""
    from google.cloud import tpu_v2alpha1

    request = tpu_v2alpha1.ListQueuedResourcesRequest(parent=_parent(cloud, zone), page_size=_PAGE)
    found: list[QueuedResource] = []
    while True:
        page: Any = await cloud.call("tpu", cloud.tpu.list_queued_resources, request)
        found.extend(queued_resource_from(row) for row in page.queued_resources)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    found.sort(key=lambda one: (one.created is not None, one.created, one.name), reverse=True)
    return tuple(found)


async def list_nodes(cloud: Cloud, zone: str = "") -> tuple[Node, ...]:
    """Return the TPU nodes of a zone."""
    from google.cloud import tpu_v2alpha1

    request = tpu_v2alpha1.ListNodesRequest(parent=_parent(cloud, zone), page_size=_PAGE)
    found: list[Node] = []
    while True:
        page: Any = await cloud.call("tpu", cloud.tpu.list_nodes, request)
        found.extend(node_from(row) for row in page.nodes)
        if not page.next_page_token:
            return tuple(found)
        request.page_token = page.next_page_token


def queued_resource_from(row: tpu_v2alpha1.QueuedResource) -> QueuedResource:
    """Return our queued resource for the API's; its first node stands for all."""
    _, project, _, zone, _, name = row.name.split("/")
    spec = row.tpu.node_spec[0] if row.tpu.node_spec else None
    node = spec.node if spec else None
    return QueuedResource(
        name=name,
        project=project,
        zone=zone,
        state=row.state.state.name,
        state_message=row.state.failed_data.error.message,
        accelerator=_accelerator(node) if node else "",
        runtime=node.runtime_version if node else "",
        tier=_tier(row),
        node=spec.node_id if spec else "",
        created=utc(row.create_time),
        labels=dict(node.labels) if node else {},
    )


def node_from(row: tpu_v2alpha1.Node) -> Node:
    """Return our node for the API's; its first worker's address stands for all."""
    parts = row.name.split("/")
    address, internal = "", False
    for endpoint in row.network_endpoints[:1]:
        address = endpoint.access_config.external_ip
        if not address:
            address, internal = endpoint.ip_address, True
    return Node(
        name=parts[-1],
        zone=parts[3] if len(parts) > 3 else "",
        state=row.state.name,
        health=row.health.name if row.health else "",
        health_description=row.health_description,
        accelerator=_accelerator(row),
        runtime=row.runtime_version,
        address=address,
        internal=internal,
        queued_resource=row.queued_resource.rsplit("/", 1)[-1],
        created=utc(row.create_time),
        labels=dict(row.labels),
    )


def node_url(node: Node) -> str:
    """Return where vLLM answers on a node, empty when the node has no address yet."""
    if not node.address:
        return ""
    host = f"[{node.address}]" if ":" in node.address else node.address
    return f"http://{host}:{VLLM_PORT}"


def _parent(cloud: Cloud, zone: str) -> str:
    zone = zone or cloud.config.zone
    if not zone:
        raise ConfigurationError(
            "No zone is named, and TPUs are looked up by zone.",
            fix="Set GOOGLE_CLOUD_ZONE or --location to one such as us-east5-a.",
        )
    return f"projects/{cloud.project}/locations/{zone}"


def _accelerator(node: tpu_v2alpha1.Node) -> str:
    if node.accelerator_type:
        return str(node.accelerator_type)
    config = node.accelerator_config
    return f"{config.type_.name.lower()} {config.topology}".strip() if config.topology else ""


def _tier(row: tpu_v2alpha1.QueuedResource) -> str:
    # Flex-start has no field in this API (google-cloud-tpu 1.28.0), so it reads as on-demand.
    kind = type(row).pb(row).WhichOneof("tier")
    names = {"spot": "spot", "guaranteed": "guaranteed", "best_effort": "best-effort"}
    return names.get(kind or "", "on-demand")
