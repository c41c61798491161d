"""From settings to an endpoint that answers: found, and with the token that it asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Kind, Target
from tools.errors import CloudError, ConfigurationError, EndpointError
from tools.google.identity import IdentityTokens
from tools.google.monitoring import instance_count
from tools.vllm.answers import endpoint_client, fetch
from tools.vllm.discovery import discover


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint, what is sent to it, and what it belongs to."""

    endpoint: EndpointConfig
    token: str | None
    target: Target
    asleep: bool = False  # scaled to zero, and not woken


async def reach(
    config: CloudConfig,
    endpoint: EndpointConfig,
    *,
    service: str = "",
    kind: Kind | Literal["auto"] = "auto",
    wake: bool = True,
) -> Reached:
    """Find the endpoint, and make an ID token where it refuses a request without one.

    Without ``wake``, a Cloud Run service without instances is not asked: asking starts one, and
    that costs. Raises what discovery raises, and ConfigurationError where no URL is known.
    """
    target = await discover(config, endpoint, service=service, kind=kind)
    if not target.url and service:
        # A named service of a named kind was not looked up: a diagnosis has probes for that.
        target = await discover(config, endpoint, service=service)
    if not target.url:
        raise ConfigurationError(
            "The endpoint's URL is not known.", fix="Give --base-url, or set VLLM_BASE_URL."
        )
    found = replace(endpoint, url=target.url, found_by=target.found_by)
    if not wake and target.kind == "cloud-run" and await _sleeps(config, target):
        return Reached(found, None, target, asleep=True)
    audience = endpoint.audience
    if not audience and target.kind == "cloud-run" and target.found_by == "Cloud Run service":
        audience = await _asked_for(found)
    token = None
    if audience:
        tokens = IdentityTokens(audience, impersonate=config.impersonate)
        token = await tokens.token_for(found.url)
    return Reached(found, token, target)


async def _asked_for(endpoint: EndpointConfig) -> str:
    async with endpoint_client(endpoint) as client:
        answer = await fetch(client, "/v1/models", seconds=endpoint.limits.health)
    return endpoint.url if answer.status in (401, 403) else ""


async def _sleeps(config: CloudConfig, target: Target) -> bool:
    from tools.google.clients import Cloud

    if not target.service:
        return False
    try:
        async with Cloud(config) as cloud:
            return await instance_count(cloud, target.service, target.location) == 0
    except (CloudError, EndpointError):
        return False  # Monitoring can't tell; asking the endpoint is what was wanted
