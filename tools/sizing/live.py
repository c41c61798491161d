"""A running service's memory: its newest start in Cloud Logging, and what /metrics says now."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Gap, LogRecord, Origin, Target
from tools.errors import CloudError, EndpointNonsense, GemmaSreError
from tools.google.clients import Cloud
from tools.google.identity import IdentityTokens
from tools.google.logging import LogQuery, read_records
from tools.google.run import get_service, list_revisions
from tools.google.tpu import list_nodes
from tools.logs.provenance import attributed
from tools.probes.endpoint import reached
from tools.probes.logs import in_order, log_query
from tools.probes.run import run_probes
from tools.probes.seen import gap_of
from tools.sizing import flags
from tools.sizing.bootlog import BootLog, parse
from tools.sizing.starts import ObservedStart, observed_starts
from tools.vllm.answers import MAX_METRICS, endpoint_client, fetch
from tools.vllm.metrics import EndpointMetrics, parse_metrics

# The default retention of Cloud Logging's _Default bucket (docs.cloud.google.com/logging/quotas).
RETENTION = timedelta(days=30)
# Every start prints this once, before anything about memory (vLLM 0.8 to 0.32).
_MARK = "non-default args: {"
_STARTS = 3  # the newest starts that are read; each takes one or two calls
_BEFORE, _AFTER = timedelta(minutes=15), timedelta(minutes=60)
_LINES = 2000
# TPU generations whose accelerator type counts cores, two a chip (docs.cloud.google.com/tpu/v5p).
_CORES = ("v4", "v5p")

T = TypeVar("T")
Logs = list[tuple[BootLog, ObservedStart | None]]


@dataclass(frozen=True)
class Running:
    """What was found of a running service; what could not be seen is in ``gaps``."""

    target: Target
    log: BootLog = field(default_factory=BootLog)
    starts: tuple[ObservedStart, ...] = ()  # newest first
    metrics: EndpointMetrics | None = None
    accelerator: str = ""  # as the platform names it, such as nvidia-l4
    count: int = 0  # devices, 0 when not known
    gaps: tuple[Gap, ...] = ()


async def look(
    target: Target,
    config: CloudConfig,
    endpoint: EndpointConfig,
    *,
    ask_endpoint: bool = True,
    since: timedelta = RETENTION,
) -> Running:
    """Return what the logs, the platform and the endpoint say of a service's memory.

    A service that sleeps is not woken. What can't be seen becomes a gap.
    """
    gaps: list[Gap] = []
    async with AsyncExitStack() as stack:
        cloud: Cloud | None = None
        if target.kind != "local":
            cloud = await stack.enter_async_context(Cloud(config))
        metrics, starts, platform = await asyncio.gather(
            _metrics(target, config, endpoint, cloud, gaps) if ask_endpoint else _nothing(),
            _or_gap("logs", _starts(cloud, target, since), gaps) if cloud else _nothing(),
            _or_gap("accelerator", _platform(cloud, target), gaps) if cloud else _nothing(),
        )
    logs, serving = starts or [], platform or _Platform()
    if cloud is None:
        gaps.append(Gap("logs", "a local endpoint's are not in Cloud Logging", "give --boot-log"))
    elif not logs and not any(gap.what == "logs" for gap in gaps):
        gaps.append(
            Gap("logs", f"no start of {target.service} in the last {since.days} days of its logs")
        )
    log, why = _chosen(logs, serving, answers=metrics is not None)
    if why and not any(gap.what == "logs" for gap in gaps):
        gaps.append(Gap("logs", why))
    name, count = _card_of(serving, logs)
    return Running(
        target=target,
        log=log,
        starts=tuple(start for _, start in logs if start is not None),
        metrics=metrics,
        accelerator=name,
        count=count,
        gaps=tuple(gaps),
    )


@dataclass(frozen=True)
class _Platform:
    """What the platform says: accelerators by revision, and the arguments of what serves."""

    cards: Mapping[str, str] = field(default_factory=dict)  # revision, "" for the newest
    revision: str = ""  # that carries the traffic
    args: tuple[str, ...] = ()


def _chosen(logs: Logs, serving: _Platform, *, answers: bool) -> tuple[BootLog, str]:
    """Return the log to show, and a sentence when it is not the newest start's."""
    whole = next((log for log, _ in logs if "kv_gib" in log.figures), None)
    if whole is not None:
        older = whole is not logs[0][0]
        return whole, (
            "the newest start did not reach its KV cache; an older one is shown" if older else ""
        )
    args = {
        name.replace("-", "_"): True if value is None else value
        for name, value in flags.pairs(serving.args)
        if name
    }
    if answers and args:
        log = BootLog(args=args, source=f"the arguments of {serving.revision}, and /metrics")
        failed = "the newest start did not reach its KV cache; " if logs else ""
        return log, f"{failed}no start of what serves now was found"
    return (logs[0][0] if logs else BootLog()), ""


async def _starts(cloud: Cloud, target: Target, since: timedelta) -> Logs:
    now = cloud.config.now()
    query = log_query(target, (now - since, now))
    found: Logs = []
    seen: set[tuple[str, str]] = set()
    for mark in await _marks(cloud, target, query):
        key = (mark.revision, mark.instance)
        if mark.time is None or (mark.instance and key in seen):
            continue
        seen.add(key)
        labels = {"revision_name": mark.revision} if mark.revision else {}
        around = replace(
            query,
            labels={**query.labels, **labels},
            start=mark.time - _BEFORE,
            end=min(mark.time + _AFTER, now),
        )
        records = [
            record
            async for record in read_records(cloud, around, _LINES)
            if record.instance in {mark.instance, ""} and _own(record, target)
        ]
        found.append(_read(in_order(records), target, mark))
        if len(found) == _STARTS:
            break
    return found


async def _marks(cloud: Cloud, target: Target, query: LogQuery) -> list[LogRecord]:
    # Asked by the words that stand in it; a prompt that quotes them is not the process's own line,
    # and is told apart when the lines around it are read.
    marks = replace(query, text=_MARK, oldest_first=False)
    return [
        record
        async for record in read_records(cloud, marks, _STARTS * 10)
        if _MARK in record.text and record.origin is Origin.PROCESS and _own(record, target)
    ]


def _own(record: LogRecord, target: Target) -> bool:
    # A TPU's entries are read by zone, where other nodes write too.
    return target.kind != "tpu" or not record.service or record.service == target.service


def _read(
    records: list[LogRecord], target: Target, mark: LogRecord
) -> tuple[BootLog, ObservedStart | None]:
    lines = [
        line
        for record in attributed(records)
        if record.origin is Origin.PROCESS
        for line in record.text.splitlines()
    ]
    when = f"{mark.time:%Y-%m-%d %H:%M} UTC" if mark.time else ""
    where = mark.revision or target.service
    starts = observed_starts(records)
    return (
        parse(lines, source=f"Cloud Logging, {where}, {when}"),
        replace(starts[-1], service=target.service) if starts else None,
    )


async def _platform(cloud: Cloud, target: Target) -> _Platform:
    if not target.service:
        return _Platform()
    if target.kind == "cloud-run":
        service = await get_service(cloud, target.service, target.location)
        revisions = await list_revisions(cloud, service)
        cards = {one.name: one.accelerator for one in revisions}
        name = max(service.traffic, key=lambda name: service.traffic[name], default="")
        name = name or service.latest_ready
        args = next((one.args for one in revisions if one.name == name), ())
        return _Platform({"": next(iter(cards.values()), ""), **cards}, name, args)
    if target.kind == "tpu" and target.zone:
        nodes = await list_nodes(cloud, target.zone)
        return _Platform(
            {"": next((one.accelerator for one in nodes if one.name == target.service), "")}
        )
    return _Platform()


def _card_of(platform: _Platform, logs: Logs) -> tuple[str, int]:
    revision = next((start.revision for _, start in logs if start is not None), "")
    name = platform.cards.get(revision) or platform.cards.get("", "")
    chips = re.fullmatch(r"(v\d+\w*?)-(\d+)", name)
    if chips is None:
        return name, 0
    count = int(chips[2])
    return chips[1], max(count // 2, 1) if chips[1] in _CORES else count


async def _metrics(
    target: Target,
    config: CloudConfig,
    endpoint: EndpointConfig,
    cloud: Cloud | None,
    gaps: list[Gap],
) -> EndpointMetrics | None:
    now: datetime = config.now()
    found, probes = await run_probes(
        target,
        config,
        endpoint,
        window=(now, now),
        cloud=cloud,
        only=frozenset({"service", "instances", "node", "endpoint"}),
    )
    facts = {name: value for p in probes for o in p.observations for name, value in o.facts.items()}
    state = str(facts.get("endpoint.state", "unknown"))
    url = endpoint.url or found.url
    if state != "ready" or not url:
        told = [gap for p in probes if p.name == "endpoint" for gap in p.gaps]
        why = "the service sleeps and was not woken" if state == "not_probed" else f"it is {state}"
        gaps.extend(told or [Gap("/metrics", f"the endpoint was not read: {why}")])
        return None
    try:
        return await _fetch(reached(endpoint, url), config, found)
    except GemmaSreError as error:
        gaps.append(Gap("/metrics", error.message.rstrip("."), error.fix.rstrip(".")))
        return None


async def _fetch(
    endpoint: EndpointConfig, config: CloudConfig, target: Target
) -> EndpointMetrics | None:
    audience = endpoint.audience
    for attempt in (audience, target.url if target.kind == "cloud-run" else ""):
        token = ""
        if attempt and not config.loopback:
            tokens = IdentityTokens(attempt, impersonate=config.impersonate)
            token = await tokens.token_for(endpoint.url)
        async with endpoint_client(endpoint, token or None) as client:
            answer = await fetch(
                client, "/metrics", seconds=endpoint.limits.health, limit=MAX_METRICS
            )
        if answer.status == 200:
            return parse_metrics(answer.body)
        if answer.status not in {401, 403}:
            break
    raise EndpointNonsense(f"/metrics gave {answer.detail or answer.line}.")


async def _or_gap(what: str, call: Awaitable[T], gaps: list[Gap]) -> T | None:
    try:
        return await call
    except CloudError as error:
        gaps.append(gap_of(what, error))
        return None


async def _nothing() -> None:
    return None
