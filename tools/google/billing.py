"""The Cloud Billing catalogue: what each SKU of a service costs, in dollars.

REST, since the catalogue's gRPC client is not among the libraries: cloudbilling.googleapis.com
v1, services.skus.list (docs.cloud.google.com/billing/docs/reference/rest/v1/services.skus/list).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from tools.config import CloudConfig
from tools.errors import (
    CloudError,
    CloudUnavailable,
    ConfigurationError,
    PermissionMissing,
    QuotaExceeded,
    RequestRefused,
)
from tools.google.clients import is_loopback
from tools.google.errors import LOGIN

CATALOGUE = "https://cloudbilling.googleapis.com"
# The largest page that is given (same document).
PAGE = 5000
# Compute Engine has some tens of thousands of SKUs; more pages than this is a server gone wrong.
MAX_PAGES = 100
MAX_BODY = 64 * 1024 * 1024  # bytes of one page
SECONDS_A_PAGE = 60.0
_API = "cloudbilling"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS = {"s": 3600.0, "min": 60.0, "h": 1.0, "d": 1 / 24}  # of one hour, by unit of time


@dataclass(frozen=True, slots=True)
class Sku:
    """One SKU: what one unit of it costs an hour, in dollars, from ``effective`` on."""

    id: str
    description: str
    usage: str  # OnDemand, Preemptible, Commit1Yr …
    regions: tuple[str, ...]
    usd_per_hour: float
    effective: date | None = None


async def read_skus(
    config: CloudConfig, service: str, wanted: Callable[[str], bool], *, url: str = ""
) -> tuple[Sku, ...]:
    """Return the SKUs of a service whose description is wanted and that are billed by time.

    ``url`` is a simulated catalogue, on loopback only (ConfigurationError otherwise); it gets no
    credentials. Raises a CloudError.
    """
    import httpx2

    if url and (urlsplit(url).scheme != "http" or not is_loopback(urlsplit(url).hostname or "")):
        raise ConfigurationError(
            f"{url} is not a loopback address.", fix="Google's catalogue needs no URL."
        )
    if config.loopback and not url:
        raise ConfigurationError(
            "A simulated cloud has no price catalogue.",
            fix="Run `gemma-sre prices refresh`, without a simulated cloud.",
        )
    headers = {"user-agent": "gemma-sre"}
    if not url:
        headers |= await asyncio.to_thread(_credentials)
    found: list[Sku] = []
    async with httpx2.AsyncClient(
        # Over plain HTTP to loopback no certificate is ever looked at.
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url else True,
        base_url=url or CATALOGUE,
        headers=headers,
        trust_env=not url,
        timeout=SECONDS_A_PAGE,
    ) as client:
        token = ""
        for _ in range(MAX_PAGES):
            page = await _page(client, service, token)
            for row in page.get("skus", ()):
                sku = sku_from(row) if wanted(str(row.get("description", ""))) else None
                if sku is not None:
                    found.append(sku)
            token = str(page.get("nextPageToken", ""))
            if not token:
                return tuple(found)
    raise CloudUnavailable(f"{_API}: the list of SKUs has no end.", api=_API)


def sku_from(row: Mapping[str, Any]) -> Sku | None:
    """Return a SKU of the API, None when it is not billed in dollars by time, or has no price.

    Of several tiers the last counts: the first ones may be a free allowance.
    """
    try:
        pricing = row["pricingInfo"][-1]
        expression = pricing["pricingExpression"]
        hours = _SECONDS[str(expression["usageUnit"]).rpartition(".")[2]]
        price = expression["tieredRates"][-1]["unitPrice"]
        usd = int(price.get("units") or 0) + int(price.get("nanos") or 0) / 1e9
        if price.get("currencyCode", "USD") != "USD":
            return None
        found = Sku(
            id=str(row["skuId"]),
            description=str(row["description"]),
            usage=str(row["category"]["usageType"]),
            regions=tuple(str(region) for region in row.get("serviceRegions", ())),
            usd_per_hour=usd * hours,
            effective=_day(str(pricing.get("effectiveTime", ""))),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return found if found.usd_per_hour > 0 and math.isfinite(found.usd_per_hour) else None


async def _page(client: Any, service: str, token: str) -> Mapping[str, Any]:
    import httpx2

    query = {"currencyCode": "USD", "pageSize": str(PAGE)}
    if token:
        query["pageToken"] = token
    try:
        async with (
            asyncio.timeout(SECONDS_A_PAGE),
            client.stream("GET", f"/v1/services/{service}/skus", params=query) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY:
                    raise CloudUnavailable(f"{_API}: an answer is too large.", api=_API)
            status = response.status_code
    except (httpx2.HTTPError, TimeoutError) as error:
        raise CloudUnavailable(
            f"{_API} gave no answer: {str(error) or type(error).__name__}.",
            fix="Prices that are known stay in use; try again later.",
            api=_API,
        ) from error
    answer = _json(bytes(body))
    if status != 200:
        raise _refusal(status, answer)
    if answer is None:
        raise CloudUnavailable(f"{_API} sent an answer that can't be read.", api=_API)
    return answer


def _refusal(status: int, answer: Mapping[str, Any] | None) -> CloudError:
    error = (answer or {}).get("error")
    told = error if isinstance(error, Mapping) else {}
    text = " ".join(str(told.get("message", f"HTTP {status}")).split())[:300]
    reasons = {
        str(detail.get("reason", ""))
        for detail in told.get("details", ())
        if isinstance(detail, Mapping)
    }
    if "SERVICE_DISABLED" in reasons:
        return PermissionMissing(
            "The API cloudbilling.googleapis.com is not enabled in this project.",
            fix="run: gcloud services enable cloudbilling.googleapis.com",
            api=_API,
        )
    if status in {401, 403}:
        return PermissionMissing(f"{_API} refused access: {text}", fix=f"To sign in, {LOGIN}")
    if status == 429:
        return QuotaExceeded(f"{_API}: {text}", fix="Try again in a minute.", api=_API)
    if 400 <= status < 500:
        return RequestRefused(f"{_API} refused the request: {text}", api=_API)
    return CloudUnavailable(f"{_API} answered HTTP {status}: {text}", api=_API)


def _credentials() -> dict[str, str]:
    import google.auth
    from google.auth import exceptions as auth
    from google.auth.transport.requests import Request

    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
        request = Request()
        try:
            credentials.refresh(request)  # type: ignore[no-untyped-call]
        finally:
            request.session.close()
    except (auth.GoogleAuthError, OSError, ValueError) as error:
        raise CloudUnavailable(
            f"No Google credentials: {(str(error).splitlines() or ['none'])[0]}",
            fix=f"To sign in, {LOGIN}",
            api=_API,
        ) from error
    headers = {"authorization": f"Bearer {credentials.token}"}
    # A person's credentials must say which project's quota is used.
    quota = getattr(credentials, "quota_project_id", "") or project
    return headers | ({"x-goog-user-project": quota} if quota else {})


def _json(body: bytes) -> Mapping[str, Any] | None:
    import json

    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
