"""When a record was written, as far as its log says."""

from __future__ import annotations

from tools.domain import LogRecord


def order_of(record: LogRecord) -> float:
    """Return a number that grows with the place of a record in its log.

    Seconds since the epoch where the record has a time; the line number of ``FILE:LINE`` where it
    has none. A log has either, so the two are not compared.
    """
    if record.time is not None:
        return record.time.timestamp()
    line = record.ref.rpartition(":")[2]
    return float(line) if line.isascii() and line.isdigit() else 0.0
