"""Where requests of a load run go, and the bytes that every one of them begins with."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from tools.config import EndpointConfig
from tools.errors import ConfigurationError
from tools.vllm.answers import check_url, is_private_channel

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """A chat-completions endpoint; ``head`` is a request's head up to its Content-Length."""

    host: str
    port: int
    tls: bool
    head: bytes

    def request(self, body: bytes) -> bytes:
        """Return the bytes of one request."""
        return b"%b%d\r\n\r\n%b" % (self.head, len(body), body)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, None for plain HTTP."""
        if not self.tls:
            return None
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


def load_target(config: EndpointConfig, token: str | None = None) -> LoadTarget:
    """Return the target of an endpoint; raises ConfigurationError for an unusable URL or key.

    An ID token goes over TLS or loopback only, as in tools.vllm.answers.
    """
    check_url(config.url)
    parts = urlsplit(config.url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if tls else 80)
    shown = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/") + PATH
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {shown}" + ("" if parts.port is None else f":{port}"),
        "User-Agent: gemma-sre",
        "Accept: text/event-stream",
        "Content-Type: application/json",
    ]
    if token:
        if not is_private_channel(config.url):
            raise ConfigurationError(
                "An ID token is not sent over plain HTTP.", fix="Use the https URL."
            )
        name = "X-Serverless-Authorization" if config.api_key else "Authorization"
        lines.append(f"{name}: Bearer {token}")
    if config.api_key:
        lines.append(f"Authorization: Bearer {config.api_key}")
    try:
        head = "\r\n".join([*lines, "Content-Length: "]).encode("ascii")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            "The URL or the API key has characters that HTTP headers can't carry.",
            fix="Give it in ASCII.",
        ) from error
    if head.count(b"\r\n") != len(lines) or head.count(b"\n") != len(lines):
        raise ConfigurationError(
            "The URL or the API key contains a line break.", fix="Take it out."
        )
    return LoadTarget(host, port, tls, head)
