"""Cloud TPU v2alpha1: queued resources and nodes whose states change as the clock moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from google.cloud import tpu_v2alpha1 as tpu
from google.protobuf import empty_pb2
from google.rpc import code_pb2, status_pb2

from tools.simulator.clock import SimulatedClock
from tools.simulator.operations import SimulatedOperations
from tools.simulator.scenario import Scenario
from tools.simulator.status import Refusal, from_fault, invalid, not_found
from tools.simulator.timeline import parse_span, parse_time

_STATES: Any = tpu.QueuedResourceState.State
_NODE_STATES: Any = tpu.Node.State
_HEALTH: Any = tpu.Node.Health


class SimulatedTpu:
    """Serve the scenario's TPU resources in its zone."""

    def __init__(
        self, scenario: Scenario, clock: SimulatedClock, operations: SimulatedOperations
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._operations = operations
        self._parent = f"projects/{scenario.project}/locations/{scenario.zone}"
        self._queued = {str(row["name"]): deepcopy(dict(row)) for row in scenario.queued_resources}
        self._nodes = {str(row["name"]): deepcopy(dict(row)) for row in scenario.nodes}

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return the methods by short name."""
        return {
            "tpu.ListQueuedResources": self.list_queued,
            "tpu.GetQueuedResource": self.get_queued,
            "tpu.CreateQueuedResource": self.create_queued,
            "tpu.DeleteQueuedResource": self.delete_queued,
            "tpu.ListNodes": self.list_nodes,
            "tpu.GetNode": self.get_node,
            "tpu.DeleteNode": self.delete_node,
        }

    def list_queued(self, request: tpu.ListQueuedResourcesRequest) -> Any:
        """Answer ListQueuedResources."""
        self._check_parent(request.parent)
        page, token = _page(list(self._queued.values()), request.page_size, request.page_token)
        return tpu.ListQueuedResourcesResponse(
            queued_resources=[self._queued_proto(row) for row in page], next_page_token=token
        )

    def get_queued(self, request: tpu.GetQueuedResourceRequest) -> tpu.QueuedResource:
        """Answer GetQueuedResource."""
        return self._queued_proto(self._find(self._queued, request.name, "queuedResources"))

    def create_queued(self, request: tpu.CreateQueuedResourceRequest) -> Any:
        """Answer CreateQueuedResource; ``operations.CreateQueuedResource`` says what follows."""
        self._check_parent(request.parent)
        name = request.queued_resource_id or f"queued-{len(self._queued) + 1}"
        if name in self._queued:
            raise Refusal("ALREADY_EXISTS", f"Resource '{name}' already exists.")
        if not request.queued_resource.tpu.node_spec:
            raise invalid("Cloud TPU received a bad request. A node spec is required.")
        spec = request.queued_resource.tpu.node_spec[0]
        told = self._scenario.operations.get("CreateQueuedResource", {})
        if told.get("error"):
            raise from_fault(
                told["error"], method="tpu.CreateQueuedResource", project=self._scenario.project
            )
        tier = next(
            (t for t in ("spot", "guaranteed", "best_effort") if t in request.queued_resource),
            "on-demand",
        )
        now = self._clock.now()
        states = [
            {**state, "at": (now + parse_span(state["at"])).isoformat()}
            for state in told.get("states", [{"at": "0", "state": "WAITING_FOR_RESOURCES"}])
        ]
        self._queued[name] = {
            "name": name,
            "node": spec.node_id,
            "accelerator": spec.node.accelerator_type,
            "runtime": spec.node.runtime_version,
            "labels": dict(spec.node.labels),
            "tier": tier.replace("_", "-"),
            "created": now.isoformat(),
            "states": states,
        }
        made = _pb(self._queued_proto(self._queued[name]))
        return self._operations.start(self._parent, 5.0, lambda: made, tpu_metadata("create"))

    def delete_queued(self, request: tpu.DeleteQueuedResourceRequest) -> Any:
        """Answer DeleteQueuedResource; an active one is refused unless forced."""
        row = self._find(self._queued, request.name, "queuedResources")
        last = self._queued_proto(row)
        if last.state.state in {_STATES.ACTIVE, _STATES.PROVISIONING} and not request.force:
            raise Refusal(
                "FAILED_PRECONDITION",
                f"Queued resource {row['name']} is in state {last.state.state.name}: "
                "delete its nodes first, or use force.",
            )

        def finish() -> Any:
            self._queued.pop(str(row["name"]), None)
            self._nodes.pop(str(row["node"]), None)
            return _pb(last)

        return self._operations.start(self._parent, 30.0, finish, tpu_metadata("delete"))

    def list_nodes(self, request: tpu.ListNodesRequest) -> Any:
        """Answer ListNodes."""
        self._check_parent(request.parent)
        alive = [row for row in self._nodes.values() if self._current(row) is not None]
        page, token = _page(alive, request.page_size, request.page_token)
        return tpu.ListNodesResponse(
            nodes=[self._node_proto(row) for row in page], next_page_token=token
        )

    def get_node(self, request: tpu.GetNodeRequest) -> tpu.Node:
        """Answer GetNode."""
        row = self._find(self._nodes, request.name, "nodes")
        if self._current(row) is None:
            raise not_found(f"Resource '{request.name}' was not found")
        return self._node_proto(row)

    def delete_node(self, request: tpu.DeleteNodeRequest) -> Any:
        """Answer DeleteNode."""
        row = self._find(self._nodes, request.name, "nodes")

        def finish() -> Any:
            self._nodes.pop(str(row["name"]), None)
            return empty_pb2.Empty()

        return self._operations.start(self._parent, 30.0, finish, tpu_metadata("delete"))

    def _check_parent(self, parent: str) -> None:
        project, _, zone = parent.partition("/locations/")
        if project != f"projects/{self._scenario.project}" or not zone:
            raise Refusal(
                "PERMISSION_DENIED",
                f"Permission 'tpu.nodes.list' denied on '{parent}' (or it may not exist).",
            )
        if zone not in {self._scenario.zone, "-"}:
            # Cloud TPU's words for a zone without TPUs.
            raise invalid(
                f'Cloud TPU received a bad request. The requested zone "{zone}" is not supported.'
            )

    def _find(self, rows: Mapping[str, dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
        parent, _, short = name.partition(f"/{kind}/")
        self._check_parent(parent)
        if short not in rows:
            raise not_found(f"Resource '{name}' was not found")
        return rows[short]

    def _current(self, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        now = self._clock.now()
        past = [
            state for state in row["states"] if parse_time(state["at"], self._scenario.now) <= now
        ]
        return past[-1] if past else None

    def _queued_proto(self, row: Mapping[str, Any]) -> tpu.QueuedResource:
        current = self._current(row) or {"state": "CREATING"}
        node = tpu.Node(
            accelerator_type=row["accelerator"],
            runtime_version=row["runtime"],
            labels=row.get("labels", {}),
        )
        spec = tpu.QueuedResource.Tpu.NodeSpec(parent=self._parent, node_id=row["node"], node=node)
        state = tpu.QueuedResourceState(state=_STATES[current["state"]])
        if current["state"] == "FAILED":
            state.failed_data = tpu.QueuedResourceState.FailedData(
                error=status_pb2.Status(
                    code=code_pb2.Code.Value(current.get("code", "RESOURCE_EXHAUSTED")),
                    message=current.get("message", ""),
                )
            )
        queued = tpu.QueuedResource(
            name=f"{self._parent}/queuedResources/{row['name']}",
            create_time=parse_time(row["created"], self._scenario.now),
            tpu=tpu.QueuedResource.Tpu(node_spec=[spec]),
            state=state,
        )
        match row.get("tier", "on-demand"):
            case "spot":
                queued.spot = tpu.QueuedResource.Spot()
            case "best-effort":
                queued.best_effort = tpu.QueuedResource.BestEffort()
            case "guaranteed":
                queued.guaranteed = tpu.QueuedResource.Guaranteed()
        return queued

    def _node_proto(self, row: Mapping[str, Any]) -> tpu.Node:
        current = self._current(row) or {}
        return tpu.Node(
            name=f"{self._parent}/nodes/{row['name']}",
            accelerator_type=row["accelerator"],
            runtime_version=row["runtime"],
            state=_NODE_STATES[current["state"]],
            health=_HEALTH[current.get("health", "HEALTHY")],
            health_description=current.get("health_description", ""),
            labels=row.get("labels", {}),
            create_time=parse_time(row["states"][0]["at"], self._scenario.now),
            network_endpoints=[tpu.NetworkEndpoint(ip_address=row.get("ip", "10.128.0.2"))],
            queued_resource=(
                f"{self._parent}/queuedResources/{row['queued_resource']}"
                if "queued_resource" in row
                else ""
            ),
        )


def tpu_metadata(verb: str) -> Any:
    """Return the metadata of a TPU operation."""
    return _pb(tpu.OperationMetadata(verb=verb, api_version="v2alpha1"))


def _pb(message: Any) -> Any:
    return type(message).pb(message)


def _page(items: Sequence[Any], size: int, token: str) -> tuple[list[Any], str]:
    if size < 0:
        raise invalid("page_size must not be negative.")
    start = int(token or 0)
    end = start + (size or 100)
    return list(items[start:end]), str(end) if end < len(items) else ""
