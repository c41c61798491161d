"""Configuration values as they may be shown: a secret in plain text becomes a mark.

The mark is keyed with a number that lives as long as the process: two revisions can be compared,
and nothing can be found out from a stored mark.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence

from tools.logs.canonical import canonical_text

_KEY = secrets.token_bytes(32)
_SECRET_NAME = re.compile(
    r"(?:^|[_\-.])(?:token|secret|password|passwd|pwd|credentials?|api[_\-]?key|private[_\-]?key"
    r"|access[_\-]?key|hf[_\-]?key|auth)(?:$|[_\-.=])",
    re.IGNORECASE,
)
_FLAG = re.compile(r"(--[A-Za-z][A-Za-z0-9_.\-]*)(=)?(.*)\Z", re.DOTALL)


def shown_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with every plain-text secret replaced by a mark."""
    return {name: _shown(name, value) for name, value in env.items()}


def shown_args(args: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments with the value of each secret option replaced by a mark."""
    found: list[str] = []
    pending = ""
    for arg in args:
        option = _FLAG.match(arg)
        if pending and not option:
            found.append(_mark(arg))
            pending = ""
            continue
        pending = ""
        if option and _SECRET_NAME.search(option[1].lstrip("-")):
            if option[2]:
                found.append(f"{option[1]}={_mark(option[3])}")
                continue
            pending = option[1]
        found.append(canonical_text(arg))
    return tuple(found)


def _shown(name: str, value: str) -> str:
    if value.startswith("secret:") or not value:
        return canonical_text(value)
    return _mark(value) if _SECRET_NAME.search(name) else canonical_text(value)


def _mark(value: str) -> str:
    digest = hmac.new(_KEY, value.encode(), hashlib.sha256).hexdigest()
    return f"<redacted {digest[:8]}>"
