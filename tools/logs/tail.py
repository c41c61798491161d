"""Follow a log as it is written: Cloud Logging by asking again, a file by reading on."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tools.domain import LogRecord
from tools.errors import QuotaExceeded, UsageError
from tools.logs.provenance import CanonicalStream
from tools.logs.records import record_from_line

if TYPE_CHECKING:
    from tools.google.clients import Cloud
    from tools.google.logging import LogQuery

# Entries reach Cloud Logging out of order: each round looks this far behind the newest one.
OVERLAP = timedelta(seconds=15)
POLL = 3.0  # s: 20 reads a minute, of the 60 that a project has
REMEMBERED = 20_000  # references, so that the overlap shows nothing twice
ROUND = 1_000  # entries of one round
MAX_LINE = 262_144  # bytes of a line of a file

Sleep = Callable[[float], Awaitable[None]]


class Fresh:
    """Which records were not seen yet; the oldest are forgotten."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._seen: OrderedDict[tuple[str, datetime | None], None] = OrderedDict()
        self._size = size

    def take(self, record: LogRecord) -> bool:
        """Say whether the record is new, and remember it."""
        key = (record.ref, record.time)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)
        return True


async def tail_cloud(
    cloud: Cloud,
    query: LogQuery,
    *,
    start: datetime,
    poll: float = POLL,
    sleep: Sleep = asyncio.sleep,
    rounds: int = 0,
    on_wait: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[LogRecord]:
    """Yield records as they come, each once, from ``start`` on; ``rounds`` 0 is without end.

    The read quota is kept: where it is used up, ``on_wait`` is told and the tail waits for it.
    """
    from tools.google.logging import read_records

    fresh, newest, done, full = Fresh(), start, 0, False
    while True:
        done += 1
        # A full round begins where it ended: looking back would read the same entries again.
        since = newest if full else max(start, newest - OVERLAP)
        asked = replace(query, start=since, end=None, oldest_first=True)
        read = 0
        try:
            async for record in read_records(cloud, asked, ROUND):
                read += 1
                if fresh.take(record):
                    newest = max(newest, record.time or newest)
                    yield record
        except QuotaExceeded as error:
            on_wait(str(error))
            await sleep(max(error.retry_after, poll))
        full = read >= ROUND
        if rounds and done >= rounds:
            return
        await sleep(poll)


async def tail_file(
    path: str,
    *,
    from_start: bool = False,
    poll: float = 0.5,
    sleep: Sleep = asyncio.sleep,
    rounds: int = 0,
) -> AsyncIterator[LogRecord]:
    """Yield the lines that are added to a text file; a file that was replaced is read anew.

    Raises UsageError if it can't be read.
    """
    name, stream, done, number = Path(path).name, CanonicalStream(), 0, 0
    at = 0 if from_start else _size(path)
    rest = b""
    while True:
        done += 1
        if _size(path) < at:  # rotated or truncated
            at, rest, number = 0, b"", 0
        blob, at = await asyncio.to_thread(_read, path, at)
        *lines, rest = (rest + blob).split(b"\n")
        rest = rest[-MAX_LINE:]
        for line in lines:
            number += 1
            text = line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r")
            for record in stream.add(record_from_line(text, f"{name}:{number}")):
                yield record
        for record in stream.flush():
            yield record
        if rounds and done >= rounds:
            return
        await sleep(poll)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error


def _read(path: str, at: int) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            file.seek(at)
            blob = file.read(1 << 20)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    return blob, at + len(blob)
