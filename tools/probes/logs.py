"""The log probe: the newest entries, and the beginning of the failing revision's own."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tools.google
from tools.domain import Gap, Kind, LogRecord, Revision, Target
from tools.errors import CloudError
from tools.google.clients import Cloud
from tools.google.logging import MAX_PAGE, LogQuery, read_entries, record_of
from tools.probes.seen import Seen, Shared

if TYPE_CHECKING:
    from google.cloud.logging_v2.types import LogEntry

# One page for each read: a second page would be one more call that waits for the one before.
PER_READ = MAX_PAGE

Window = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class LogScope:
    """Where the logs of a kind of target are (``tools/google/log_scopes.toml``)."""

    resource_types: tuple[str, ...]
    label: str = ""
    entry_label: str = ""
    place: str = ""
    known: Mapping[str, Any] = field(default_factory=dict)


@cache
def log_scope(kind: Kind) -> LogScope:
    """Return the scope of a kind; raises KeyError for one that writes nothing to Cloud Logging."""
    path = Path(tools.google.__file__).with_name("log_scopes.toml")
    row = tomllib.loads(path.read_text(encoding="utf-8"))[kind]
    return LogScope(
        resource_types=tuple(row["resource_types"]),
        label=row.get("label", ""),
        entry_label=row.get("entry_label", ""),
        place=row["place"],
        known={key: row[key] for key in ("source", "confirmed", "read")},
    )


def log_query(target: Target, window: Window) -> LogQuery:
    """Return the query for everything that a target wrote in the window."""
    scope = log_scope(target.kind)
    labels: dict[str, str] = {}
    if scope.label and target.service:
        labels[scope.label] = target.service
    place = target.zone if scope.place == "zone" else target.location
    if place:
        labels[scope.place] = place
    entry = {scope.entry_label: target.service} if scope.entry_label and target.service else {}
    return LogQuery(
        resource_types=scope.resource_types,
        labels=labels,
        entry_labels=entry,
        start=window[0],
        end=window[1],
    )


async def probe_logs(
    cloud: Cloud,
    target: Target,
    window: Window,
    seen: Seen,
    revisions: Shared[tuple[Revision, ...]] | None = None,
) -> None:
    """Read the newest entries of a target; when they fill a page, the oldest of its revision too.

    The newest lines are the least telling: what broke stands where the newest revision began.
    """
    query = log_query(target, window)
    newest = await _entries(cloud, replace(query, oldest_first=False))
    if len(newest) < PER_READ:
        found = [record_of(entry) for entry in newest]
    else:
        revision = await _revision_name(revisions, newest)
        labels = {**query.labels, **({"revision_name": revision} if revision else {})}
        reading = asyncio.create_task(_entries(cloud, replace(query, labels=labels)))
        try:
            await asyncio.sleep(0)  # the request goes out, and while it is answered:
            found = [record_of(entry) for entry in newest]
            oldest = await reading
        finally:
            reading.cancel()
        found += [record_of(entry) for entry in oldest]
        if len(oldest) >= PER_READ:
            seen.gaps.append(
                Gap(
                    "logs",
                    f"more than {2 * PER_READ} entries in the window: the newest {PER_READ} and "
                    f"the oldest {PER_READ} of the newest revision were read",
                    "narrow the window by --from and --to",
                )
            )
    seen.records.extend(in_order(found))
    if revisions is not None:
        await _say_if_too_late(revisions, window, seen)


def in_order(records: Iterable[LogRecord]) -> list[LogRecord]:
    """Return the records once each, oldest first; those without a time keep their place."""
    once = {(record.ref, record.time, record.text): record for record in records}
    dated = sorted(
        (record for record in once.values() if record.time is not None),
        key=lambda record: (record.time, record.ref),
    )
    return dated + [record for record in once.values() if record.time is None]


async def _entries(cloud: Cloud, query: LogQuery) -> list[LogEntry]:
    return [entry async for entry in read_entries(cloud, query, PER_READ)]


async def _revision_name(
    revisions: Shared[tuple[Revision, ...]] | None, newest: list[LogEntry]
) -> str:
    if revisions is not None:
        try:
            listed = await revisions.get()
        except CloudError:
            listed = ()
        if listed:
            return listed[0].name
    # Cloud Run numbers its revisions in the name (SERVICE-00011-2nn), so the greatest is newest.
    return max((entry.resource.labels.get("revision_name", "") for entry in newest), default="")


async def _say_if_too_late(
    revisions: Shared[tuple[Revision, ...]], window: Window, seen: Seen
) -> None:
    try:
        listed = await revisions.get()
    except CloudError:
        return
    if not listed or listed[0].ready is not False or listed[0].created is None:
        return
    if listed[0].created < window[0] and not any(
        record.revision == listed[0].name for record in seen.records
    ):
        seen.gaps.append(
            Gap(
                "logs",
                f"the failing revision {listed[0].name} was made at "
                f"{listed[0].created:%Y-%m-%d %H:%M} UTC, before the window that was read",
                "name a longer window by --since or --from",
            )
        )
