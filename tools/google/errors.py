"""Google's exceptions, turned into the errors that a person can act on.

The permission comes from the ``ErrorInfo`` that Google attaches to a 403 (reason
``IAM_PERMISSION_DENIED``, metadata ``permission``), else from the message; the roles that grant
it stand in ``permissions.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tools.errors import (
    CloudError,
    CloudUnavailable,
    NotFound,
    PermissionMissing,
    QuotaExceeded,
    RequestRefused,
)

LOGIN = "run: gcloud auth application-default login"

_PERMISSION = re.compile(r"[Pp]ermission[s]?\W{1,3}([a-z][A-Za-z]+(?:\.[A-Za-z]+){2,3})\b")


@dataclass(frozen=True, slots=True)
class PermissionFact:
    """One permission: which roles grant it, which probes need it, where that was read."""

    name: str
    roles: tuple[str, ...]
    needed_by: tuple[str, ...]
    source: str
    read: str


@cache
def permission_facts() -> Mapping[str, PermissionFact]:
    """Return what ``permissions.toml`` says, by permission."""
    text = Path(__file__).with_name("permissions.toml").read_text(encoding="utf-8")
    return {
        row["name"]: PermissionFact(
            name=row["name"],
            roles=tuple(row["roles"]),
            needed_by=tuple(row["needed_by"]),
            source=row["source"],
            read=str(row["read"]),
        )
        for row in tomllib.loads(text)["permission"]
    }


def roles_granting(permission: str) -> tuple[str, ...]:
    """Return the roles that grant a permission, the smallest first; empty if not known."""
    fact = permission_facts().get(permission)
    return fact.roles if fact else ()


def cloud_error(error: Exception, api: str) -> CloudError:
    """Return the error of our own tree for an exception of a Google library.

    ``api`` names the service that was called, such as ``logging``.
    """
    from google.api_core import exceptions as google
    from google.auth import exceptions as auth

    text = _one_line(getattr(error, "message", "") or str(error))
    if isinstance(error, google.Forbidden | google.Unauthenticated):
        return _refused(error, api, text)
    if isinstance(error, google.NotFound):
        return NotFound(f"{api}: {text}", api=api)
    if isinstance(error, google.TooManyRequests):
        wait = retry_delay(error)
        return QuotaExceeded(
            f"{api}: quota or rate limit reached: {text}",
            fix=f"Try again in {wait:g} s." if wait else "Try again in a minute.",
            api=api,
            retry_after=wait,
        )
    if isinstance(error, google.BadRequest | google.Conflict):
        return RequestRefused(f"{api} refused the request: {text}", api=api)
    if isinstance(error, auth.GoogleAuthError) or "Getting metadata from plugin failed" in text:
        return CloudUnavailable(
            f"{api}: no usable Google credentials: {text}", fix=f"To sign in, {LOGIN}", api=api
        )
    if isinstance(error, google.DeadlineExceeded | google.GatewayTimeout | TimeoutError):
        return CloudUnavailable(f"{api} did not answer within the time limit.", api=api)
    return CloudUnavailable(f"{api} gave no usable answer: {text}", api=api)


def retry_delay(error: object) -> float:
    """Return the seconds that Google's ``RetryInfo`` asks to wait, 0 if it names none."""
    for detail in _details(error):
        if type(detail).__name__ == "RetryInfo":
            delay = detail.retry_delay
            return float(delay.seconds) + float(delay.nanos) / 1e9
    return 0.0


def _refused(error: Any, api: str, text: str) -> CloudError:
    reason = getattr(error, "reason", "") or ""
    metadata: Mapping[str, str] = getattr(error, "metadata", None) or {}
    if reason == "SERVICE_DISABLED":
        service = metadata.get("service", f"{api}.googleapis.com")
        return PermissionMissing(
            f"The API {service} is not enabled in this project.",
            fix=f"run: gcloud services enable {service}",
            api=api,
        )
    permission = metadata.get("permission", "")
    if not permission and (found := _PERMISSION.search(text)):
        permission = found[1]
    if not permission:
        return PermissionMissing(f"{api} refused access: {text}", api=api)
    roles = roles_granting(permission)
    fix = f"grant {' or '.join(roles) if roles else 'a role with ' + permission} to the account"
    return PermissionMissing(
        f"Permission {permission} is missing.",
        fix=f"{fix} that gemma-sre runs as.",
        api=api,
        permission=permission,
        roles=roles,
    )


def _details(error: object) -> Iterable[Any]:
    details = getattr(error, "details", None)
    return details if isinstance(details, list | tuple) else ()


def _one_line(text: str, limit: int = 300) -> str:
    # A server's message may quote names that users chose: data, so no control characters.
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
