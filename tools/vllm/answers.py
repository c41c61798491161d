"""One bounded HTTP request to the endpoint, and what came of it: an answer or a kind of silence."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tools.config import EndpointConfig
from tools.errors import ConfigurationError
from tools.google.clients import is_loopback

if TYPE_CHECKING:
    import httpx2

Silence = Literal["", "refused", "stalled", "nonsense"]

MAX_BODY = 64 * 1024  # bytes
MAX_METRICS = 4 * 1024 * 1024  # bytes; vLLM 0.32 prints about 60 kB for one model


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request brought: a status with a body, or a silence and what the system called it.

    ``body`` is cut at the limit of bytes that was asked for.
    """

    path: str
    status: int = 0
    phrase: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    silence: Silence = ""
    detail: str = ""

    @property
    def line(self) -> str:
        """Return the status line."""
        return f"HTTP {self.status} {self.phrase}".rstrip()


def check_url(url: str) -> None:
    """Raise ConfigurationError unless the URL is an http or https one with a host."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{url!r} is not the URL of an endpoint.",
            fix="Give one such as https://SERVICE-PROJECT.run.app or http://HOST:8000.",
        )


def is_private_channel(url: str) -> bool:
    """Tell whether what is sent to the URL stays unread on its way: TLS, or loopback."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def endpoint_client(config: EndpointConfig, token: str | None = None) -> httpx2.AsyncClient:
    """Return a client for the endpoint with its credentials in place.

    An ID token goes over TLS or loopback only (ConfigurationError otherwise). With an API key
    beside it, the token moves to the header that Cloud Run reads first and takes away.
    """
    import httpx2

    check_url(config.url)
    headers = {"user-agent": "gemma-sre"}
    if token:
        if not is_private_channel(config.url):
            raise ConfigurationError(
                "An ID token is not sent over plain HTTP.", fix="Use the https URL."
            )
        name = "x-serverless-authorization" if config.api_key else "authorization"
        headers[name] = f"Bearer {token}"
    if config.api_key:
        headers["authorization"] = f"Bearer {config.api_key}"
    limits = config.limits
    # Reading the certificate store takes longer than a whole local answer; over plain HTTP, with
    # redirects not followed, it is never used, and an empty store trusts nobody.
    plain = urlsplit(config.url).scheme == "http"
    return httpx2.AsyncClient(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        base_url=config.url,
        headers=headers,
        follow_redirects=False,
        trust_env=not is_loopback(urlsplit(config.url).hostname or ""),
        timeout=httpx2.Timeout(limits.health, connect=limits.connect),
    )


async def fetch(
    client: httpx2.AsyncClient, path: str, *, seconds: float, limit: int = MAX_BODY
) -> Answer:
    """Return the answer to a GET; never raises for what a server or a network does."""
    import httpx2

    response: Any = None
    try:
        async with asyncio.timeout(seconds), client.stream("GET", path) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= limit:
                    break
            return Answer(
                path,
                status=response.status_code,
                phrase=response.reason_phrase,
                headers={key.lower(): value for key, value in response.headers.items()},
                body=bytes(body[:limit]).decode("utf-8", "replace"),
            )
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        return Answer(path, silence="refused", detail=_system_words(error))
    except (TimeoutError, httpx2.TimeoutException):
        began = f"HTTP {response.status_code}, and then " if response is not None else ""
        return Answer(path, silence="stalled", detail=f"{began}no answer within {seconds:g} s")
    except (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError) as error:
        return Answer(path, silence="refused", detail=_system_words(error))
    except (httpx2.ProtocolError, httpx2.DecodingError, httpx2.HTTPError) as error:
        return Answer(path, silence="nonsense", detail=str(error) or type(error).__name__)


def _system_words(error: BaseException) -> str:
    # The operating system's own words stand at the end of the chain of causes.
    seen: BaseException | None = error
    found = str(error) or type(error).__name__
    while seen is not None:
        if isinstance(seen, socket.gaierror):
            return f"name not resolved: {seen.strerror}"
        if isinstance(seen, OSError) and seen.errno:
            found = os.strerror(seen.errno)
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
            continue
        seen = seen.__cause__ or seen.__context__
    return found
