"""Times and spans as a scenario writes them: ``-5m30s``, ``+20s``, ``1h``, or a full timestamp."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_span(text: str | int | float) -> timedelta:
    """Return a span such as ``-5m30s``; a bare number is seconds. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return timedelta(seconds=text)
    raw = str(text).strip()
    sign = -1 if raw.startswith("-") else 1
    body = raw.lstrip("+-")
    if body == "0":
        return timedelta(0)
    parts = _PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError(f"{raw!r} is not a span such as -5m30s, 250ms or 9d")
    micros = sum(round(float(number) * _SECONDS[unit] * 1_000_000) for number, unit in parts)
    return sign * timedelta(microseconds=micros)


def parse_time(value: object, now: datetime) -> datetime:
    """Return a moment: a span relative to ``now``, or an absolute timestamp. Raises ValueError."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, str | int | float):
        return now + parse_span(value)
    raise ValueError(f"{value!r} is neither a span such as -5m30s nor a timestamp")
