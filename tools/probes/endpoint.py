"""The endpoint probe: never wakes a service that sleeps, never sends a token where it needn't."""

from __future__ import annotations

from dataclasses import replace

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Gap, Observation, Origin, Probe, Service
from tools.errors import CloudError, GemmaSreError
from tools.google.identity import IdentityTokens
from tools.google.monitoring import INSTANCE_COUNT
from tools.probes.seen import Seen, Shared
from tools.vllm.answers import is_private_channel
from tools.vllm.endpoint import probe_endpoint


async def ask_endpoint(
    endpoint: EndpointConfig, config: CloudConfig, seen: Seen, *, audience: str = ""
) -> None:
    """Probe the endpoint; a refusal is answered once with an ID token, if one may be sent.

    ``audience`` is the URL under which Cloud Run itself named the service. An audience that the
    settings name is used at once.
    """
    token, refused = "", ""
    if endpoint.audience:
        token, refused = await _token(endpoint, config, endpoint.audience)
    probe = await probe_endpoint(endpoint, token or None)
    if _state(probe) == "forbidden" and not token and not refused and audience == endpoint.url:
        token, refused = await _token(endpoint, config, audience)
        if token:
            probe = await probe_endpoint(endpoint, token)
    seen.observations.extend(probe.observations)
    seen.gaps.extend(probe.gaps)
    if refused and _state(probe) != "ready":
        seen.gaps.append(Gap("endpoint", refused))


async def ask_cloud_run_endpoint(
    endpoint: EndpointConfig,
    config: CloudConfig,
    seen: Seen,
    service: Shared[Service],
    instances: Shared[int | None],
    *,
    wake: bool,
) -> None:
    """Probe the endpoint of a Cloud Run service, unless that would start an instance."""
    found: Service | None = None
    try:
        found = await service.get()
    except CloudError as error:
        if not endpoint.url:
            seen.skipped = True
            seen.gaps.append(Gap("endpoint", f"its URL is unknown: {error.message.rstrip('.')}"))
            return
    if not wake and not (found and found.min_instances):
        asleep = await _asleep(instances)
        if asleep:
            seen.skipped = True
            seen.observations.append(
                Observation(
                    source="monitoring",
                    ref=INSTANCE_COUNT,
                    quote=f"{asleep}: the endpoint was not asked, so that no instance is started",
                    time=config.now(),
                    origin=Origin.PLATFORM,
                    facts={"endpoint.state": "not_probed"},
                )
            )
            return
    url = endpoint.url or (found.url if found else "")
    if not url:
        seen.skipped = True
        seen.gaps.append(Gap("endpoint", "the service has no URL"))
        return
    await ask_endpoint(reached(endpoint, url), config, seen, audience=found.url if found else "")


def reached(endpoint: EndpointConfig, url: str) -> EndpointConfig:
    """Return the endpoint at a URL that was found, its API key kept only where nobody reads it.

    A key that a person set together with a URL goes to that URL, whatever it is.
    """
    if url == endpoint.url:
        return endpoint
    key = endpoint.api_key if is_private_channel(url) else ""
    return replace(endpoint, url=url, api_key=key)


async def _asleep(instances: Shared[int | None]) -> str:
    try:
        count = await instances.get()
    except CloudError:
        return "the number of instances could not be read"
    if count is None:
        return "Cloud Monitoring has no recent number of instances"
    return "" if count else "no instance is running"


async def _token(endpoint: EndpointConfig, config: CloudConfig, audience: str) -> tuple[str, str]:
    if config.loopback:
        return "", "a simulated cloud makes no ID tokens"
    tokens = IdentityTokens(audience, impersonate=config.impersonate)
    try:
        return await tokens.token_for(endpoint.url), ""
    except GemmaSreError as error:
        return "", str(error)


def _state(probe: Probe) -> str:
    for observation in probe.observations:
        if "endpoint.state" in observation.facts:
            return str(observation.facts["endpoint.state"])
    return ""
