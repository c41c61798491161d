"""What the adapters must be told: where, as whom, and how long to wait. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the wall clock's time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long to wait, in seconds; tests set milliseconds."""

    cloud: float = 10.0  # one Google call, retries included
    connect: float = 3.0  # TCP and TLS to the endpoint
    health: float = 5.0  # one endpoint probe
    first_token: float = 30.0  # model: request sent to first token
    stall: float = 10.0  # model: silence before the stall is shown
    between_tokens: float = 20.0  # model: silence between two tokens, before it is the end
    answer: float = 120.0  # model: one whole answer


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """Where Google Cloud is and which part of it is ours.

    ``loopback`` is the host:port of a simulated cloud: insecure channel and anonymous
    credentials, refused for any address that is not loopback.
    """

    project: str = ""
    location: str = ""
    zone: str = ""
    loopback: str = ""
    impersonate: str = ""  # service account for ID tokens
    limits: TimeLimits = field(default_factory=TimeLimits)
    now: Callable[[], datetime] = utc_now


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How to reach the vLLM endpoint; ``url`` has neither a trailing slash nor ``/v1``."""

    url: str = ""
    model: str = ""
    api_key: str = ""
    audience: str = ""  # non-empty: send an ID token made for it, over TLS or loopback only
    found_by: str = ""
    limits: TimeLimits = field(default_factory=TimeLimits)
