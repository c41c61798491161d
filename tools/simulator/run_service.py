"""Cloud Run Admin v2: services and revisions, with changes as long-running operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2

from tools.simulator.clock import SimulatedClock
from tools.simulator.operations import SimulatedOperations
from tools.simulator.run_objects import (
    build_condition,
    build_revision,
    build_template,
    readiness,
    revision_message,
    revision_times,
)
from tools.simulator.scenario import Scenario
from tools.simulator.status import Refusal, from_fault, invalid, not_found
from tools.simulator.timeline import parse_span

_STATE: Any = run_v2.Condition.State
_REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
_LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


@dataclass(slots=True)
class _ServiceState:
    row: Mapping[str, Any]
    traffic: dict[str, int]
    template: run_v2.RevisionTemplate
    made: list[run_v2.Revision] = field(default_factory=list)  # by UpdateService
    removed: set[str] = field(default_factory=set)
    generation: int = 1


class SimulatedRun:
    """Serve the scenario's services; ``url`` is where their endpoint answers."""

    def __init__(
        self,
        scenario: Scenario,
        clock: SimulatedClock,
        operations: SimulatedOperations,
        url: Callable[[], str],
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._operations = operations
        self._url = url
        self._parent = f"projects/{scenario.project}/locations/{scenario.location}"
        self._services = {str(row["name"]): _state(row) for row in scenario.services}

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return the methods by short name."""
        return {
            "run.ListServices": self.list_services,
            "run.GetService": self.get_service,
            "run.UpdateService": self.update_service,
            "run.DeleteService": self.delete_service,
            "run.ListRevisions": self.list_revisions,
            "run.GetRevision": self.get_revision,
            "run.DeleteRevision": self.delete_revision,
            "run.ListJobs": self.list_jobs,
            "run.TestIamPermissions": self.test_permissions,
        }

    def list_services(self, request: run_v2.ListServicesRequest) -> run_v2.ListServicesResponse:
        """Answer ListServices; the location may be ``-``."""
        self._check_location(request.parent)
        page, token = _page(sorted(self._services), request.page_size, request.page_token)
        return run_v2.ListServicesResponse(
            services=[self._service(name) for name in page], next_page_token=token
        )

    def get_service(self, request: run_v2.GetServiceRequest) -> run_v2.Service:
        """Answer GetService."""
        return self._service(self._find(request.name))

    def list_revisions(self, request: run_v2.ListRevisionsRequest) -> run_v2.ListRevisionsResponse:
        """Answer ListRevisions, newest first; the service may be ``-``."""
        parent, _, service = request.parent.rpartition("/services/")
        self._check_location(parent)
        if service != "-" and service not in self._services:
            return run_v2.ListRevisionsResponse()
        names = list(self._services) if service == "-" else [service]
        found = [revision for name in names for revision in self._revisions(name)]
        found.sort(key=lambda revision: revision.create_time, reverse=True)
        page, token = _page(found, request.page_size, request.page_token)
        return run_v2.ListRevisionsResponse(revisions=page, next_page_token=token)

    def get_revision(self, request: run_v2.GetRevisionRequest) -> run_v2.Revision:
        """Answer GetRevision."""
        service = self._find(request.name.partition("/revisions/")[0])
        for revision in self._revisions(service):
            if revision.name == request.name:
                return revision
        raise _missing(request.name)

    def list_jobs(self, request: run_v2.ListJobsRequest) -> run_v2.ListJobsResponse:
        """Answer ListJobs: a scenario has none."""
        self._check_location(request.parent)
        return run_v2.ListJobsResponse()

    def test_permissions(self, request: iam_policy_pb2.TestIamPermissionsRequest) -> Any:
        """Answer TestIamPermissions: what no fault denies is granted."""
        self._find(request.resource)
        denied = {fault.get("error", {}).get("permission") for fault in self._scenario.faults}
        granted = [name for name in request.permissions if name not in denied]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    def update_service(self, request: run_v2.UpdateServiceRequest) -> Any:
        """Answer UpdateService: traffic changes, and a changed template makes a revision."""
        name = self._find(request.service.name)
        state = self._services[name]
        wanted = request.service
        if wanted.etag and wanted.etag != _etag(name, state.generation):
            raise Refusal("ABORTED", "Conflict for resource: the etag does not match.")
        traffic = self._wanted_traffic(name, wanted)
        if request.validate_only:
            return self._operations.start(self._parent, 0, lambda: _pb(wanted), _pb(wanted))
        new = bool(wanted.template.containers) and not _same_template(
            wanted.template, state.template
        )

        def finish() -> Any:
            self._fail_if_told("UpdateService")
            state.generation += 1
            if new:
                self._make_revision(name, wanted.template)
                state.template = wanted.template
            if traffic:
                state.traffic = traffic
            elif new and state.made:
                state.traffic = {state.made[-1].name.rpartition("/")[2]: 100}
            return _pb(self._service(name))

        seconds = self._seconds("UpdateService", 20.0)
        return self._operations.start(self._parent, seconds, finish, _pb(self._service(name)))

    def delete_service(self, request: run_v2.DeleteServiceRequest) -> Any:
        """Answer DeleteService."""
        name = self._find(request.name)
        last = _pb(self._service(name))

        def finish() -> Any:
            self._fail_if_told("DeleteService")
            del self._services[name]
            return last

        seconds = self._seconds("DeleteService", 10.0)
        return self._operations.start(self._parent, seconds, finish, last)

    def delete_revision(self, request: run_v2.DeleteRevisionRequest) -> Any:
        """Answer DeleteRevision; one that carries traffic is refused."""
        revision = self.get_revision(run_v2.GetRevisionRequest(name=request.name))
        service, short = revision.service, revision.name.rpartition("/")[2]
        if self._services[service].traffic.get(short):
            raise Refusal(
                "FAILED_PRECONDITION", f"Revision {short} is serving traffic and can't be deleted."
            )
        last = _pb(revision)

        def finish() -> Any:
            self._services[service].removed.add(short)
            return last

        return self._operations.start(
            self._parent, self._seconds("DeleteRevision", 5.0), finish, last
        )

    def _seconds(self, method: str, default: float) -> float:
        row = self._scenario.operations.get(method, {})
        return parse_span(row.get("duration", default)).total_seconds()

    def _fail_if_told(self, method: str) -> None:
        error = self._scenario.operations.get(method, {}).get("error")
        if error:
            raise from_fault(error, method=f"run.{method}", project=self._scenario.project)

    def _wanted_traffic(self, name: str, wanted: run_v2.Service) -> dict[str, int]:
        known = {revision.name.rpartition("/")[2] for revision in self._revisions(name)}
        traffic: dict[str, int] = {}
        for target in wanted.traffic:
            revision = target.revision or self._latest_ready(name)
            if revision not in known:
                raise invalid(f"traffic: Revision '{revision}' not found.")
            traffic[revision] = traffic.get(revision, 0) + target.percent
        if traffic and sum(traffic.values()) != 100:
            raise invalid("traffic: the percentages must sum to 100.")
        return traffic

    def _make_revision(self, name: str, template: run_v2.RevisionTemplate) -> None:
        state = self._services[name]
        number = len(state.row["revisions"]) + len(state.made) + 1
        row = {
            **state.row["revisions"][-1],
            "name": template.revision or f"{name}-{number:05d}-sim",
        }
        now = self._clock.now().isoformat()
        row |= {"created": now, "ready_at": now, "ready": True}
        revision = build_revision(self._scenario, name, row, self._clock.now())
        for part in ("containers", "service_account", "scaling", "volumes", "node_selector"):
            setattr(revision, part, getattr(template, part))
        state.made.append(revision)

    def _find(self, resource: str) -> str:
        parent, _, name = resource.rpartition("/services/")
        self._check_location(parent)
        if name not in self._services:
            raise _missing(resource)
        return name

    def _check_location(self, parent: str) -> None:
        parts = parent.split("/")
        if len(parts) != 4 or parts[0] != "projects" or parts[2] != "locations":
            raise invalid(f"Invalid resource name: '{parent}'.")
        if parts[1] != self._scenario.project:
            raise Refusal(
                "PERMISSION_DENIED",
                f"Permission 'run.services.list' denied on resource '{parent}' "
                "(or resource may not exist).",
            )
        if parts[3] not in {self._scenario.location, "-"}:
            raise _missing(parent)

    def _revisions(self, name: str) -> list[run_v2.Revision]:
        now = self._clock.now()
        state = self._services[name]
        found = [
            build_revision(self._scenario, name, row, now)
            for row in state.row["revisions"]
            if revision_times(row, self._scenario.now)[0] <= now
        ]
        found += state.made
        return [item for item in found if item.name.rpartition("/")[2] not in state.removed]

    def _latest_ready(self, name: str) -> str:
        state = self._services[name]
        if state.made:
            return str(state.made[-1].name.rpartition("/")[2])
        now = self._clock.now()
        ready = [
            str(row["name"])
            for row in state.row["revisions"]
            if readiness(row, self._scenario.now, now)
        ]
        return ready[-1] if ready else ""

    def _service(self, name: str) -> run_v2.Service:
        self._operations.settle()
        state, now = self._services[name], self._clock.now()
        revisions = sorted(self._revisions(name), key=lambda revision: revision.create_time)
        latest = revisions[-1]
        latest_ready = self._latest_ready(name)
        traffic = state.traffic or ({latest_ready: 100} if latest_ready else {})
        prefix = f"{self._parent}/services/{name}"
        service = run_v2.Service(
            name=prefix,
            labels=state.row.get("labels", {}),
            generation=state.generation,
            observed_generation=state.generation,
            create_time=revisions[0].create_time,
            update_time=latest.update_time,
            creator="deployer@example.com",
            last_modifier="deployer@example.com",
            ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL,
            launch_stage="GA",
            template=state.template,
            traffic=[_target(revision, percent) for revision, percent in state.traffic.items()]
            or [run_v2.TrafficTarget(type_=_LATEST, percent=100)],
            traffic_statuses=[
                run_v2.TrafficTargetStatus(type_=_REVISION, revision=revision, percent=percent)
                for revision, percent in traffic.items()
            ],
            scaling=run_v2.ServiceScaling(min_instance_count=state.row.get("min_instances", 0)),
            latest_created_revision=latest.name,
            latest_ready_revision=f"{prefix}/revisions/{latest_ready}" if latest_ready else "",
            uri=state.row.get("uri") or self._url(),
            etag=_etag(name, state.generation),
        )
        self._judge(service, name, latest, now)
        return service

    def _judge(
        self, service: run_v2.Service, name: str, latest: run_v2.Revision, now: datetime
    ) -> None:
        row = self._services[name].row
        if "conditions" in row:
            conditions = [build_condition(item, self._scenario.now) for item in row["conditions"]]
            service.terminal_condition, service.conditions = conditions[0], conditions[1:]
            return
        ready = next(item for item in latest.conditions if item.type_ == "Ready")
        fields: dict[str, Any] = {
            "state": ready.state,
            "last_transition_time": ready.last_transition_time or now,
        }
        if ready.state == _STATE.CONDITION_FAILED:
            short = latest.name.rpartition("/")[2]
            rows = {str(item["name"]): item for item in row["revisions"]}
            reason = revision_message(self._scenario, name, rows.get(short, {"name": short}))
            fields |= {
                "message": f"Revision '{short}' is not ready and cannot serve traffic. {reason}",
                "reason": run_v2.Condition.CommonReason.REVISION_FAILED,
            }
        service.reconciling = ready.state == _STATE.CONDITION_RECONCILING
        service.terminal_condition = run_v2.Condition(type_="Ready", **fields)
        routes = _STATE.CONDITION_SUCCEEDED if service.latest_ready_revision else ready.state
        service.conditions = [
            run_v2.Condition(type_="RoutesReady", state=routes),
            run_v2.Condition(type_="ConfigurationsReady", **fields),
        ]


def _state(row: Mapping[str, Any]) -> _ServiceState:
    return _ServiceState(
        deepcopy(dict(row)), dict(row.get("traffic", {})), build_template(row["revisions"][-1])
    )


def _target(revision: str, percent: int) -> run_v2.TrafficTarget:
    return run_v2.TrafficTarget(type_=_REVISION, revision=revision, percent=percent)


def _etag(name: str, generation: int) -> str:
    return f'"{name}/{generation}"'


def _pb(message: Any) -> Any:
    return type(message).pb(message)


def _same_template(left: run_v2.RevisionTemplate, right: run_v2.RevisionTemplate) -> bool:
    one, other = run_v2.RevisionTemplate(left), run_v2.RevisionTemplate(right)
    one.revision = other.revision = ""
    return one == other


def _missing(resource: str) -> Refusal:
    return not_found(f"Resource '{resource}' was not found.")


def _page(items: Sequence[Any], size: int, token: str) -> tuple[list[Any], str]:
    if size < 0:
        raise invalid("page_size must not be negative.")
    if token and not token.isdigit():
        raise invalid("page_token is invalid.")
    start = int(token or 0)
    end = start + (size or 100)
    return list(items[start:end]), str(end) if end < len(items) else ""
