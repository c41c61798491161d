"""roll_back_traffic: send a service's traffic back to a revision that is known to be ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from tools.domain import Observation, Revision, Service
from tools.errors import ApprovalStale, RequestRefused, UsageError
from tools.google import run
from tools.google.clients import Cloud
from tools.google.traffic import LATEST, Traffic, read_traffic, send_traffic, wait_for_changes
from tools.reads.cloud import cloud_of, require_kind
from tools.tool import Effect, Preview, Reconciled, ToolContext, ToolResult, state_digest, tool

_LISTED = 100  # revisions looked through, newest first


@dataclass(frozen=True, slots=True)
class _Plan:
    # The live state that a roll-back rests on, read at one moment.
    location: str
    traffic: Traffic
    wanted: Revision
    carrying: tuple[Revision, ...]  # those that carry traffic now
    digest: str


async def preview_roll_back(context: ToolContext, revision: str) -> Preview:
    """Return what sending all traffic to ``revision`` would do; raises UsageError if it can't."""
    async with cloud_of(context) as cloud:
        plan = await _plan(context, cloud, revision)
    name, now = context.target.service, plan.traffic
    losing = ", ".join(f"{one} ({share} %)" for one, share in now.actual.items() if one != revision)
    return Preview(
        does=f"Send 100 % of the traffic of {name} to {revision} (now: {_shares(now.actual)}).",
        before=_before(now),
        after={"traffic": {revision: 100}},
        state=plan.digest,
        blast_radius=_radius(name, plan, losing),
        undo=_undo(context, plan),
        cost=_cost(plan),
    )


async def reconcile_roll_back(
    context: ToolContext, before: Mapping[str, Any], revision: str
) -> Reconciled:
    """Say from the live state whether a roll-back that nobody saw end was carried out."""
    async with cloud_of(context) as cloud:
        location = await _location(context, cloud)
        certain = await wait_for_changes(cloud, context.target.service, location)
        now = await read_traffic(cloud, context.target.service, location)
    seen = f"the service's traffic goes to {_shares(now.actual)}"
    if now.actual == {revision: 100} and now.wanted == {revision: 100}:
        return Reconciled("done", seen)
    if now.reconciling or not certain:
        return Reconciled("unknown", f"{seen}, and a change of it may still be under way")
    if before.get("generation") == now.generation:
        return Reconciled("not_done", f"{seen}, as before")
    return Reconciled("unknown", f"{seen}, and somebody changed the service since")


@tool(Effect.CHANGE, preview=preview_roll_back, reconcile=reconcile_roll_back)
async def roll_back_traffic(
    context: ToolContext, revision: Annotated[str, "one that list_revisions shows as ready"]
) -> ToolResult:
    """Send all traffic of the Cloud Run service back to an older, ready revision."""
    async with cloud_of(context) as cloud:
        plan = await _plan(context, cloud, revision)
        if context.approved and context.approved != plan.digest:
            raise ApprovalStale("The service changed since this was approved; nothing was done.")
        try:
            await send_traffic(cloud, plan.traffic, revision)
        except RequestRefused as error:
            if "etag" in error.message:
                raise ApprovalStale(
                    "Somebody changed the service at this moment; nothing was done."
                ) from error
            raise
        now = await read_traffic(cloud, context.target.service, plan.location)
    text = f"traffic of {context.target.service}: {_shares(now.actual)}"
    return ToolResult(
        summary=f"Done; {text} (before: {_shares(plan.traffic.actual)}). "
        f"Undo: {_undo(context, plan)}",
        data={"before": _before(plan.traffic), "after": _before(now)},
        observations=(Observation("run", f"services/{context.target.service}", text),),
    )


async def _plan(context: ToolContext, cloud: Cloud, revision: str) -> _Plan:
    require_kind(context, "cloud-run", "Revisions")
    location = await _location(context, cloud)
    name = context.target.service
    service = Service(name, cloud.project, location)
    listed = await run.list_revisions(cloud, service, _LISTED)
    by_name = {one.name: one for one in listed}
    wanted = by_name.get(revision)
    if wanted is None:
        ready = ", ".join(one.name for one in listed if one.ready) or "none"
        raise UsageError(f"{name} has no revision {revision!r}.", fix=f"Ready are: {ready}.")
    if wanted.ready is not True:
        raise UsageError(f"{revision} is not known to be ready, so no traffic may go there.")
    traffic = await read_traffic(cloud, name, location)
    if traffic.wanted == {revision: 100}:
        raise UsageError(f"{revision} already carries all the traffic of {name}.")
    carrying = tuple(by_name[one] for one in traffic.actual if one in by_name)
    newest = next((one.name for one in listed if one.name in traffic.actual), listed[0].name)
    order = [one.name for one in listed]
    if newest != revision and order.index(revision) < order.index(newest):
        raise UsageError(f"{revision} is newer than {newest}, so this would be no roll-back.")
    state = {
        "service": traffic.service,
        "generation": traffic.generation,
        "wanted": dict(traffic.wanted),
        "actual": dict(traffic.actual),
        "revision": revision,
        "image": wanted.image,
        "ready": wanted.ready,
    }
    return _Plan(location, traffic, wanted, carrying, state_digest(state))


async def _location(context: ToolContext, cloud: Cloud) -> str:
    if context.target.location:
        return context.target.location
    return (await run.get_service(cloud, context.target.service)).location


def _before(traffic: Traffic) -> dict[str, Any]:
    return {"traffic": dict(traffic.actual), "generation": traffic.generation}


def _shares(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {share} %" for name, share in traffic.items()) or "nowhere"


def _radius(name: str, plan: _Plan, losing: str) -> str:
    address = f" at {plan.traffic.url}" if plan.traffic.url else ""
    lost = f" {losing} gets no new request." if losing else ""
    cold = "" if plan.wanted.min_instances else " It keeps no instance warm: expect a cold start."
    pinned = " Later deployments get no traffic until it is moved." if _follows(plan) else ""
    return f"Every caller of {name}{address}.{lost}{cold}{pinned}"


def _follows(plan: _Plan) -> bool:
    return LATEST in plan.traffic.wanted or not plan.traffic.wanted


def _undo(context: ToolContext, plan: _Plan) -> str:
    # Names come from Cloud Run itself, which allows letters, digits and hyphens only.
    command = f"gcloud run services update-traffic {context.target.service}"
    command += f" --region {plan.location}"
    if _follows(plan):
        return f"{command} --to-latest"
    shares = ",".join(f"{name}={share}" for name, share in plan.traffic.wanted.items())
    return f"{command} --to-revisions {shares}"


def _cost(plan: _Plan) -> str:
    # Instances cost the same by the hour when what they are made of is the same.
    def parts(one: Revision) -> tuple[object, ...]:
        return one.accelerator, dict(one.resources), one.min_instances, one.max_instances

    others = [one for one in plan.carrying if one.name != plan.wanted.name]
    if others and all(parts(one) == parts(plan.wanted) for one in others):
        return "none: the same accelerator, CPU, memory and number of instances"
    return ""
