"""Reading, mining and following the logs of a target in the cloud, for any front end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.gather import discover_target, window_of
from agent.memory import Memory
from agent.settings import Settings
from tools.domain import LogRecord, Severity, Target
from tools.errors import UsageError
from tools.logs.mining import Mined, canonical_report

if TYPE_CHECKING:
    from tools.google.clients import Cloud
    from tools.google.logging import LogQuery, Page


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Which logs: of what, from when to when, and which of them."""

    service: str = ""
    kind: str = "auto"
    since: str = "1h"
    start: str = ""
    end: str = ""
    revision: str = ""
    contains: str = ""
    severity: str = ""
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class CloudLogs:
    """An open way to the logs of one target."""

    cloud: Cloud
    target: Target
    query: LogQuery
    window: tuple[datetime, datetime]

    async def read(
        self, limit: int, *, page_token: str = "", on_page: Callable[[Page], None] | None = None
    ) -> AsyncIterator[LogRecord]:
        """Yield at most ``limit`` records; ``page_token`` goes on with the same request."""
        from tools.google.logging import read_records

        async for record in read_records(
            self.cloud, self.query, limit, page_token=page_token, on_page=on_page
        ):
            yield record

    async def mine(
        self,
        limit: int,
        *,
        max_patterns: int = 50,
        memory: Memory | None = None,
        on_page: Callable[[Page], None] | None = None,
    ) -> Mined:
        """Return the patterns of the window, against the window of the same length before it.

        At most ``limit`` entries of each are read, the newest; novel is what the history in
        state.db does not know from before.
        """
        from tools.google.logging import read_records
        from tools.logs.patterns import mine_file
        from tools.probes.logs import in_order

        start, end = self.window
        before = replace(self.query, start=start - (end - start), end=start, oldest_first=False)
        now = replace(self.query, oldest_first=False)
        reports = []
        problems = []
        baseline = None
        for name, query in (("the baseline before it", before), ("the window", now)):
            records = in_order(
                [r async for r in read_records(self.cloud, query, limit, on_page=on_page)]
            )
            if len(records) >= limit:
                problems.append(f"{name} holds more than {limit} entries: the newest were read")
            known: frozenset[str] = frozenset()
            if baseline is not None and memory is not None:
                first = next((r.time.isoformat() for r in records if r.time), "")
                known = memory.patterns.known(self.target.service, before=first, source="cloud")
            baseline = mine_file(records, max_patterns=max_patterns, baseline=baseline, known=known)
            reports.append(baseline)
        return Mined(canonical_report(reports[-1]), self.target.service, "cloud", tuple(problems))

    async def tail(
        self, *, poll: float, rounds: int = 0, on_wait: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[LogRecord]:
        """Yield records as they come, from the start of the window on."""
        from tools.logs.tail import tail_cloud

        async for record in tail_cloud(
            self.cloud,
            self.query,
            start=self.window[0],
            poll=poll,
            rounds=rounds,
            on_wait=on_wait,
        ):
            yield record


@contextlib.asynccontextmanager
async def open_logs(settings: Settings, request: LogRequest) -> AsyncIterator[CloudLogs]:
    """Find the target and yield its logs. Raises UsageError where it has none in the cloud."""
    from tools.google.clients import Cloud
    from tools.probes.logs import log_query

    plain: Mapping[str, Any] = {
        "service": request.service,
        "kind": request.kind,
        "since": request.since,
        "start": request.start,
        "end": request.end,
    }
    window = window_of(plain, settings.now())
    severity = severity_of(request.severity)
    target = await discover_target(plain, settings)
    if target.kind == "local":
        raise UsageError(
            "A local endpoint has no logs in the cloud.", fix="Name its log file instead."
        )
    query = log_query(target, window)
    labels = {**query.labels, **({"revision_name": request.revision} if request.revision else {})}
    query = replace(
        query,
        labels=labels,
        text=request.contains,
        min_severity=severity,
        oldest_first=not request.newest_first,
    )
    async with Cloud(settings.cloud_config()) as cloud:
        yield CloudLogs(cloud, target, query, window)


def severity_of(name: str) -> Severity:
    """Return the severity of this name; raises UsageError for one that is none."""
    if not name:
        return Severity.DEFAULT
    try:
        return Severity[name.upper()]
    except KeyError as error:
        names = ", ".join(level.name for level in Severity)
        raise UsageError(f"{name!r} is no severity.", fix=f"One of: {names}.") from error
