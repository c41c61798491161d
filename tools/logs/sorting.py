"""Oldest first, with bounded memory: sorted runs on disk, merged.

A log whose records have no times keeps its order, and so do records of the same time. Where
most neighbours step back in time, the log was printed newest first: then records of one time
are turned round as well.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import IO, Any

import orjson

from tools.domain import LogRecord, Origin, Severity

RUN = 50_000  # records; about 60 MB


def oldest_first(
    records: Iterable[LogRecord], note: Callable[[str], None], *, run: int = RUN
) -> Iterator[LogRecord]:
    """Yield the records in the order of their times; ``note`` is told when that was not possible.

    Up to ``run`` records are held; beyond that, sorted runs go to temporary files, which are as
    large as the log. Without room for them the order stays that of the file.
    """
    source = iter(records)
    held = list(islice(source, run))
    if not any(record.time is not None for record in held):
        yield from held
        yield from source
        return
    descending = _is_descending(held)
    if len(held) < run:
        yield from _sorted(held, descending)
        return
    runs: list[IO[bytes]] = []
    try:
        try:
            while held:
                runs.append(_spill(_sorted(held, descending)))
                held = list(islice(source, run))
        except OSError as error:
            note(
                "The log is too large to sort, and there is no room for temporary files"
                f" ({error.strerror}): its order is that of the file."
            )
            for file in runs:
                yield from _read(file)
            yield from held
            yield from source
            return
        # Runs of a log that is printed newest first are merged last run first, so that the order
        # within one time holds across runs.
        ordered = runs[::-1] if descending else runs
        yield from heapq.merge(*(_read(file) for file in ordered), key=_key)
    finally:
        for file in runs:
            file.close()


def _key(record: LogRecord) -> float:
    return record.time.timestamp() if record.time is not None else 0.0


def _is_descending(records: list[LogRecord]) -> bool:
    times = [record.time for record in records if record.time is not None]
    down = sum(1 for one, two in pairwise(times) if two < one)
    up = sum(1 for one, two in pairwise(times) if two > one)
    return down > up


def _sorted(records: list[LogRecord], descending: bool) -> list[LogRecord]:
    if descending:
        records = records[::-1]
    keyed: list[tuple[float, LogRecord]] = []
    last = 0.0
    for record in records:  # a record without a time stays behind the one before it
        last = record.time.timestamp() if record.time is not None else last
        keyed.append((last, record))
    keyed.sort(key=lambda item: item[0])
    return [record for _, record in keyed]


_FIELDS = [field.name for field in fields(LogRecord)]


def _spill(records: list[LogRecord]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    try:
        for record in records:
            file.write(orjson.dumps([_plain(getattr(record, name)) for name in _FIELDS]) + b"\n")
        file.seek(0)
    except OSError:
        file.close()
        raise
    return file


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return int(value) if isinstance(value, Severity) else value


def _read(file: IO[bytes]) -> Iterator[LogRecord]:
    for line in file:
        values = dict(zip(_FIELDS, orjson.loads(line), strict=True))
        time = values["time"]
        values["time"] = datetime.fromisoformat(time).astimezone(UTC) if time else None
        values["severity"] = Severity(values["severity"])
        values["origin"] = Origin(values["origin"])
        yield LogRecord(**values)
