"""Google's timestamps as plain aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def utc(time: Any) -> datetime | None:
    """Return a proto-plus timestamp as a datetime in UTC, None when the field is not set.

    Reads seconds and nanoseconds as integers: ``timestamp()`` goes through a float and would
    move a time by a microsecond.
    """
    if time is None:
        return None
    plain = datetime(
        time.year, time.month, time.day, time.hour, time.minute, time.second, time.microsecond, UTC
    )
    return None if plain.year <= 1970 and plain.timestamp() == 0 else plain
