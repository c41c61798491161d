"""read_logs: log entries of the target."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

from tools.google.logging import read_records
from tools.probes.logs import in_order, log_query
from tools.reads.cloud import cloud_of
from tools.tool import Bounds, Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def read_logs(
    context: ToolContext,
    contains: str = "",
    revision: str = "",
    minutes: Annotated[int, Bounds(1, 43_200)] = 60,
    limit: Annotated[int, Bounds(1, 500)] = 100,
    order: Literal["oldest", "newest"] = "oldest",
) -> ToolResult:
    """Read log lines of the target, by text or revision. A failed start shows its cause among
    the oldest lines of its revision.
    """
    async with cloud_of(context) as cloud:
        now = cloud.config.now()
        query = log_query(context.target, (now - timedelta(minutes=minutes), now))
        labels = {**query.labels, **({"revision_name": revision} if revision else {})}
        query = replace(query, labels=labels, text=contains, oldest_first=order == "oldest")
        records = in_order([record async for record in read_records(cloud, query, limit)])
    first = records[0].time if records else None
    last = records[-1].time if records else None
    span = f", {first:%H:%M:%S} to {last:%H:%M:%S} UTC" if first and last else ""
    more = f" (the limit of {limit} was reached)" if len(records) == limit else ""
    return ToolResult(
        summary=f"{len(records)} entries{span}{more}",
        data=[
            {
                "ref": record.ref,
                "time": record.time.isoformat() if record.time else None,
                "revision": record.revision,
                "stream": record.stream,
                "text": record.text,
            }
            for record in records
        ],
        records=tuple(records),
    )
