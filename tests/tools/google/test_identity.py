from __future__ import annotations

import asyncio
import base64
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools.config import CloudConfig, EndpointConfig
from tools.errors import CloudUnavailable, ConfigurationError
from tools.google.identity import IdentityTokens
from tools.probes.endpoint import ask_endpoint, reached
from tools.probes.seen import Seen

AUDIENCE = "https://gemma-1.us-east4.run.app"


def encoded(part: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def point_at(key_file: Path, port: int) -> None:
    key = json.loads(key_file.read_text())
    key["token_uri"] = f"http://127.0.0.1:{port}/token"
    key_file.write_text(json.dumps(key))


class SimulatedTokenServer:
    """Make unsigned ID tokens for whatever audience the signed assertion asks for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lifetime = timedelta(hours=1)
        self.refuse = False
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        form = urllib.parse.parse_qs((await reader.readexactly(length)).decode())
        claims = form["assertion"][0].split(".")[1]
        audience = json.loads(base64.urlsafe_b64decode(claims + "=="))["target_audience"]
        self.asked.append(audience)
        expiry = datetime.now(UTC) + self.lifetime
        parts = ({"alg": "none"}, {"exp": int(expiry.timestamp())}, {"n": len(self.asked)})
        token = ".".join(encoded(part) for part in parts)
        body = json.dumps({"error": "invalid_grant"} if self.refuse else {"id_token": token})
        status = "400 Bad Request" if self.refuse else "200 OK"
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def server(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SimulatedTokenServer]:
    simulated = SimulatedTokenServer()
    listening = await asyncio.start_server(simulated.answer, "127.0.0.1", 0)
    simulated.port = listening.sockets[0].getsockname()[1]
    point_at(key_file, simulated.port)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    yield simulated
    listening.close()
    await listening.wait_closed()


async def test_one_token_for_many_requests(server: SimulatedTokenServer) -> None:
    tokens = IdentityTokens(AUDIENCE)
    found = await asyncio.gather(*(tokens.token_for(f"{AUDIENCE}/v1/models") for _ in range(5)))
    assert len(set(found)) == 1
    assert server.asked == [AUDIENCE]


async def test_renewed_five_minutes_before_its_end(server: SimulatedTokenServer) -> None:
    now = datetime.now(UTC)
    tokens = IdentityTokens(AUDIENCE, now=lambda: now)
    first = await tokens.token_for(AUDIENCE)
    now += timedelta(minutes=54)
    assert await tokens.token_for(AUDIENCE) == first
    now += timedelta(minutes=2)
    assert await tokens.token_for(AUDIENCE) != first


@pytest.mark.parametrize(
    "url",
    [
        "http://gemma-1.us-east4.run.app/",
        "https://evil.example.com/",
        "https://gemma-1.us-east4.run.app.evil.example.com/",
        "https://gemma-1.us-east4.run.app:8443/",
        "https://gemma-1.us-east4.run.app@evil.example.com/",
    ],
)
async def test_a_token_goes_nowhere_else(server: SimulatedTokenServer, url: str) -> None:
    with pytest.raises(ConfigurationError):
        await IdentityTokens(AUDIENCE).token_for(url)
    assert server.asked == []


async def test_loopback_may_be_plain(server: SimulatedTokenServer) -> None:
    assert await IdentityTokens(AUDIENCE).token_for("http://127.0.0.1:8000/v1")


async def test_a_refusal_says_what_is_needed(server: SimulatedTokenServer) -> None:
    server.refuse = True
    with pytest.raises(CloudUnavailable, match=r"roles/iam\.serviceAccountOpenIdTokenCreator"):
        await IdentityTokens(AUDIENCE).token_for(AUDIENCE)


async def test_a_persons_credentials_are_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "adc.json"
    path.write_text(
        json.dumps(
            {
                "type": "authorized_user",
                "client_id": "i",
                "client_secret": "s",
                "refresh_token": "r",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ConfigurationError, match="person's") as caught:
        await IdentityTokens(AUDIENCE).token_for(AUDIENCE)
    assert "impersonate" in caught.value.fix


class SimulatedPrivateEndpoint:
    """Refuse as Google's front end does until a request carries a token."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        found = [line for line in head.split("\r\n") if line.lower().startswith("authorization:")]
        self.seen += found
        if found:
            status, body = "200 OK", '{"data": [{"id": "m", "max_model_len": 8}]}'
        else:
            status, body = "403 Forbidden", "<html><title>403 Forbidden</title></html>"
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def private() -> AsyncIterator[tuple[SimulatedPrivateEndpoint, str]]:
    simulated = SimulatedPrivateEndpoint()
    listening = await asyncio.start_server(simulated.answer, "127.0.0.1", 0)
    yield simulated, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()
    await listening.wait_closed()


def state_of(seen: Seen) -> object:
    return seen.observations[0].facts["endpoint.state"]


async def test_a_refusal_is_answered_with_a_token_for_the_services_own_url(
    server: SimulatedTokenServer, private: tuple[SimulatedPrivateEndpoint, str]
) -> None:
    endpoint, url = private
    seen = Seen()
    await ask_endpoint(EndpointConfig(url=url), CloudConfig(), seen, audience=url)
    assert state_of(seen) == "ready"
    assert server.asked == [url]
    assert len(endpoint.seen) == 4


async def test_no_token_for_a_url_that_cloud_run_did_not_name(
    server: SimulatedTokenServer, private: tuple[SimulatedPrivateEndpoint, str]
) -> None:
    endpoint, url = private
    seen = Seen()
    await ask_endpoint(EndpointConfig(url=url), CloudConfig(), seen, audience=AUDIENCE)
    assert state_of(seen) == "forbidden"
    assert (server.asked, endpoint.seen) == ([], [])


async def test_an_audience_of_the_settings_is_used_at_once(
    server: SimulatedTokenServer, private: tuple[SimulatedPrivateEndpoint, str]
) -> None:
    _, url = private
    seen = Seen()
    await ask_endpoint(EndpointConfig(url=url, audience=AUDIENCE), CloudConfig(), seen)
    assert state_of(seen) == "ready"
    assert server.asked == [AUDIENCE]
    server.refuse = True
    seen = Seen()
    await ask_endpoint(EndpointConfig(url=url, audience=AUDIENCE), CloudConfig(), seen)
    assert state_of(seen) == "forbidden"
    assert "serviceAccountOpenIdTokenCreator" in "".join(map(str, seen.gaps))


def test_a_key_is_dropped_where_others_could_read_it() -> None:
    config = EndpointConfig(url="http://10.0.0.1:8000", api_key="k")
    assert reached(config, "http://10.0.0.1:8000").api_key == "k", "a person set both together"
    assert reached(config, "http://10.0.0.2:8000").api_key == ""
    assert reached(config, "https://x.run.app").api_key == "k"
    assert reached(config, "http://127.0.0.1:1").api_key == "k"
