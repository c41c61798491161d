"""The probes of a Cloud Run service: itself, its revisions, its instances."""

from __future__ import annotations

from tools.domain import Condition, Observation, Revision, Scalar, Service, Target
from tools.errors import CloudError, NotFound
from tools.google.changes import changes_between
from tools.google.clients import Cloud
from tools.google.monitoring import INSTANCE_COUNT, instance_count
from tools.google.run import get_service, list_revisions
from tools.logs.canonical import canonical_text
from tools.probes.seen import Seen, Shared


async def probe_service(cloud: Cloud, target: Target, seen: Seen, service: Shared[Service]) -> None:
    """Look at the service: does it exist, is it ready, which revision serves."""
    try:
        found = await get_service(cloud, target.service, target.location)
    except NotFound as error:
        service.fail(error)
        seen.observations.append(
            Observation(
                source="run",
                ref=f"services/{target.service}",
                quote=canonical_text(error.message),
                facts={"run.exists": False},
            )
        )
        return
    except CloudError as error:
        service.fail(error)
        raise
    service.put(found)
    ready = condition(found.conditions, "Ready")
    facts: dict[str, Scalar] = {"run.exists": True, "run.min_instances": found.min_instances}
    if ready is not None and ready.state in {"CONDITION_SUCCEEDED", "CONDITION_FAILED"}:
        facts["run.ready"] = ready.state == "CONDITION_SUCCEEDED"
    serving = max(found.traffic, key=lambda name: found.traffic[name], default="")
    if serving:
        facts["run.serving_revision"] = serving
    if ready is not None and ready.state == "CONDITION_FAILED":
        facts |= _why(ready)
    seen.observations.append(
        Observation(
            source="run",
            ref=f"services/{found.name}",
            quote=_words(ready, found.name),
            time=ready.time if ready else None,
            facts=facts,
        )
    )


async def probe_revisions(
    cloud: Cloud,
    target: Target,
    seen: Seen,
    service: Shared[Service],
    revisions: Shared[tuple[Revision, ...]],
) -> None:
    """Look at the newest revision, and at what changed since the last that became ready."""
    # With the region known the list need not wait for the service itself.
    found = (
        Service(target.service, cloud.project, target.location)
        if target.location
        else await _located(service)
    )
    if found is None:
        return
    listed = await list_revisions(cloud, found)
    revisions.put(listed)
    if not listed:
        return
    newest = listed[0]
    facts = _revision_facts(newest)
    failing = failing_condition(newest)
    if newest.ready is False and failing is not None:
        facts |= _why(failing)
    told = failing or condition(newest.conditions, "Ready")
    seen.observations.append(
        Observation(
            source="run",
            ref=f"revisions/{newest.name}",
            quote=_words(told, newest.name),
            time=(told.time if told else None) or newest.created,
            facts=facts,
        )
    )
    good = next((one for one in listed[1:] if one.ready), None)
    if newest.ready is False and good is not None:
        seen.changes.extend(changes_between(good, newest))


async def probe_instances(
    cloud: Cloud, target: Target, seen: Seen, instances: Shared[int | None]
) -> None:
    """Read how many instances run now."""
    try:
        count = await instance_count(cloud, target.service, target.location)
    except CloudError as error:
        instances.fail(error)
        raise
    instances.put(count)
    if count is not None:
        seen.observations.append(
            Observation(
                source="monitoring",
                ref=INSTANCE_COUNT,
                quote=f"{INSTANCE_COUNT} = {count}",
                time=cloud.config.now(),
                facts={"run.instances": count},
            )
        )


def probe_budget(revision: Revision) -> int | None:
    """Return the seconds in which a container must pass its start-up probe, None without one.

    Initial delay + period × failure threshold (the probe reference of Cloud Run's v2 API).
    """
    probe = revision.startup_probe
    if not probe:
        return None
    return int(probe["initial_delay_s"]) + int(probe["period_s"]) * int(probe["failure_threshold"])


def probe_kind(revision: Revision) -> str:
    """Return how the start-up probe asks: ``http``, ``tcp``, ``grpc``, or ``none``."""
    kind = str(revision.startup_probe.get("type", "")) if revision.startup_probe else ""
    return kind or "none"


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """Return the condition of a type, None if the service does not report it."""
    return next((one for one in conditions if one.type == kind), None)


def failing_condition(revision: Revision) -> Condition | None:
    """Return the condition that says why a revision failed: Ready, else the first that failed."""
    failed = [one for one in revision.conditions if one.state == "CONDITION_FAILED"]
    failed.sort(key=lambda one: (not one.message, one.type != "Ready"))
    return failed[0] if failed else None


def _revision_facts(revision: Revision) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {"run.revision": revision.name}
    if revision.ready is not None:
        facts["run.revision_ready"] = revision.ready
    if (budget := probe_budget(revision)) is not None:
        facts["run.probe_budget_s"] = budget
    facts["run.probe_kind"] = probe_kind(revision)
    if revision.accelerator:
        facts["run.accelerator"] = revision.accelerator
    return facts


def _why(told: Condition) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {}
    if told.reason:
        facts["run.reason"] = told.reason
    if told.message:
        facts["run.message"] = canonical_text(told.message)
    return facts


def _words(told: Condition | None, name: str) -> str:
    if told is None:
        return name
    return canonical_text(told.message) if told.message else f"{told.type}: {told.state}"


async def _located(service: Shared[Service]) -> Service | None:
    try:
        return await service.get()
    except CloudError:
        return None  # the service probe reports it; there is no second thing to say
