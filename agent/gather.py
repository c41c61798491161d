"""From a request to a look: which target, which window, from the cloud or from files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agent.events import EndpointState, ToolFinished, ToolStarted
from agent.look import Look, look_at_cloud, look_at_files
from agent.settings import Settings
from agent.state import TurnContext, TurnState
from tools.domain import KINDS, Kind, Probe, Target
from tools.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_CONTENT_LINES = 5000


async def ensure_look(state: TurnState, context: TurnContext) -> Look:
    """Return this turn's look, looking now if this process has not looked yet."""
    if context.look is not None:
        return context.look
    request = state["request"]
    report = _reporter(state["turn"], context)
    if request.get("logs"):
        kind = _kind(request.get("kind", "auto"))
        target = Target(kind or "cloud-run", service=request.get("service", ""), found_by="file")
        report("logs", "started", None)
        # Reading is CPU-bound and may be long: in a thread, the screen keeps its keys.
        look, probe = await asyncio.to_thread(
            look_at_files, tuple(request["logs"]), target, context.catalog
        )
        report("logs", "ok", probe)
    else:
        look = await _look_at_cloud(request, context, report)
    context.look = look
    return look


async def discover_target(request: Mapping[str, Any], settings: Settings) -> Target:
    """Return what the request, the settings or the project name; raises UsageError if nothing."""
    from tools.vllm.discovery import discover

    return await discover(
        settings.cloud_config(),
        settings.endpoint_config(),
        service=request.get("service") or settings.service,
        kind=_kind(request.get("kind", "")) or settings.kind,
    )


async def _look_at_cloud(request: Mapping[str, Any], context: TurnContext, report: Any) -> Look:
    settings = context.settings
    return await look_at_cloud(
        await discover_target(request, settings),
        settings.cloud_config(),
        settings.endpoint_config(),
        context.catalog,
        window=window_of(request, settings.now()),
        wake=bool(request.get("wake")),
        on_probe=report,
    )


def window_of(request: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Return the time window that a request names; raises UsageError for one that is none."""
    if request.get("start") or request.get("end"):
        end = parse_time(request["end"]) if request.get("end") else now
        start = parse_time(request["start"]) if request.get("start") else end - timedelta(hours=1)
    else:
        end, start = now, now - parse_duration(request.get("since") or "1h")
    if start >= end:
        raise UsageError("The time window ends before it begins.", fix="Swap --from and --to.")
    return start, end


def parse_duration(text: str) -> timedelta:
    """Parse ``90s``, ``15m``, ``1h``, ``2d``; raises UsageError."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isdigit() and 0 < int(number) <= 100_000:
        return timedelta(seconds=int(number) * _UNITS[unit])
    raise UsageError(f"{text!r} is no duration.", fix="Write it like 90s, 15m, 1h or 2d.")


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time, in UTC when it names no zone; raises UsageError."""
    from datetime import UTC

    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time.", fix="Write it like 2026-06-06T03:30:00Z."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _kind(text: str) -> Kind | None:
    return text if text in KINDS else None


def _reporter(turn: str, context: TurnContext) -> Any:
    """Turn a probe's start and end into events and a kept tool call."""

    def report(name: str, state: str, probe: Probe | None) -> None:
        call = f"probe-{name}"
        if probe is None:
            context.emit(ToolStarted(call, name))
            return
        outcome = "ok" if not probe.gaps else ("ok" if probe.observations else "failed")
        if state in {"skipped", "cancelled", "failed"}:
            outcome = state
        summary = _summary(probe)
        content = "\n".join(
            [*(str(o.quote) for o in probe.observations), *(str(g) for g in probe.gaps)]
            + [record.text for record in probe.records[:MAX_CONTENT_LINES]]
        )
        finished = ToolFinished(call, name, outcome, probe.seconds, summary, content)  # type: ignore[arg-type]
        context.memory.record_call(
            turn,
            {
                "call": call,
                "name": name,
                "state": outcome,
                "seconds": probe.seconds,
                "summary": summary,
                "content": content,
            },
        )
        context.emit(finished)
        _emit_endpoint(probe, context)

    return report


def _summary(probe: Probe) -> str:
    if probe.gaps and not probe.observations:
        return str(probe.gaps[0])
    parts = [f"{len(probe.records)} entries"] if probe.records else []
    if probe.observations:
        parts.append(probe.observations[0].quote.splitlines()[0][:120])
    return "; ".join(parts) or "nothing seen"


def _emit_endpoint(probe: Probe, context: TurnContext) -> None:
    facts = {name: value for o in probe.observations for name, value in o.facts.items()}
    if "endpoint.state" in facts:
        window = facts.get("endpoint.window", 0)
        context.emit(
            EndpointState(
                str(facts["endpoint.state"]),
                model=str(facts.get("endpoint.model", "")),
                window=window if isinstance(window, int) else 0,
            )
        )
