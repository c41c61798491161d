"""String literals of the filter languages of Cloud Logging and Cloud Monitoring.

Both put a string in double quotes with backslash escapes. A value is data that may come from a
log or a person, so every filter is built from these functions and never by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from tools.errors import UsageError

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(value: str) -> str:
    """Return the value as a string literal.

    Other control characters become blanks: no name or log text that is searched for has them,
    and the two languages spell their escapes differently.
    """
    return '"' + "".join(_ESCAPES.get(c) or (c if c >= " " else " ") for c in value) + '"'


def any_of(values: Iterable[str]) -> str:
    """Return one literal, or several as ``("a" OR "b")``."""
    literals = [quoted(value) for value in values]
    return literals[0] if len(literals) == 1 else f"({' OR '.join(literals)})"


def label_key(key: str) -> str:
    """Return the key of a label as it may stand in a field path; raises UsageError otherwise."""
    if not _PLAIN_KEY.match(key):
        raise UsageError(f"{key!r} is not the name of a label.")
    return key


def timestamp(time: datetime) -> str:
    """Return an aware time as the quoted RFC 3339 text that filters compare with, in UTC."""
    return quoted(time.astimezone(UTC).isoformat().replace("+00:00", "Z"))
