from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.config import EndpointConfig, TimeLimits
from tools.domain import Origin, Probe
from tools.errors import ConfigurationError
from tools.simulator.cloud import SimulatedCloud
from tools.vllm.answers import Answer
from tools.vllm.endpoint import MAX_QUOTE, classify, probe_endpoint

LIMITS = TimeLimits(connect=0.3, health=0.3)


def facts(probe: Probe) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for observation in probe.observations:
        found |= observation.facts
    return found


async def test_a_ready_endpoint(simulated: SimulatedCloud) -> None:
    probe = await probe_endpoint(simulated.endpoint_config(LIMITS))
    found = facts(probe)
    assert found["endpoint.state"] == "ready"
    assert found["endpoint.status"] == 200
    assert found["endpoint.model"] == simulated.model
    assert found["endpoint.window"] > 0
    assert found["endpoint.version"]
    assert found["vllm.kv_usage"] >= 0
    assert probe.gaps == ()
    assert {"http:/health", "http:/v1/models", "http:/version", "http:/metrics"} == {
        call.method for call in simulated.calls
    }


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [
        ("refuse", "refused"),
        ("reset", "refused"),
        ("hangup", "nonsense"),
        ("stall", "stalled"),
        ("unavailable", "starting"),
        ("starting_500", "starting"),
        ("starting_503", "starting"),
        ("forbidden_html", "forbidden"),
        ("no_instance", "no_instance"),
        ("malformed", "nonsense"),
        ("empty_body", "nonsense"),
    ],
)
async def test_every_way_to_be_broken(
    simulated: SimulatedCloud, behaviour: str, state: str
) -> None:
    simulated.behave(behaviour)
    start = monotonic()
    probe = await probe_endpoint(simulated.endpoint_config(LIMITS))
    assert facts(probe)["endpoint.state"] == state
    assert monotonic() - start < 1.5
    assert probe.observations[0].quote
    assert len(probe.observations[0].quote) <= MAX_QUOTE
    assert (probe.gaps == ()) == (state == "starting")
    assert "endpoint.model" not in facts(probe)
    assert all(one.origin is not Origin.CONTROL_PLANE for one in probe.observations)


async def test_a_refusal_is_quoted_in_the_systems_words(simulated: SimulatedCloud) -> None:
    simulated.behave("refuse")
    probe = await probe_endpoint(simulated.endpoint_config(LIMITS))
    assert probe.observations[0].quote == "Connection refused"
    unresolved = EndpointConfig(url="http://no-such-host.invalid", limits=LIMITS)
    assert facts(await probe_endpoint(unresolved))["endpoint.state"] == "refused"


async def test_health_alone_does_not_make_it_ready(simulated: SimulatedCloud) -> None:
    simulated.inject("http:/v1/models", stall=True)
    found = facts(await probe_endpoint(simulated.endpoint_config(LIMITS)))
    assert found["endpoint.state"] == "stalled"


async def test_metrics_that_are_nonsense_cost_only_the_metrics(simulated: SimulatedCloud) -> None:
    simulated.inject("http:/metrics", behaviour="malformed")
    found = facts(await probe_endpoint(simulated.endpoint_config(LIMITS)))
    assert found["endpoint.state"] == "ready"
    assert "vllm.running" not in found


async def test_a_slow_drip_ends_at_the_limit() -> None:
    done = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not done.is_set() and not writer.is_closing():
            writer.write(b"x")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), 0.02)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        start = monotonic()
        probe = await probe_endpoint(EndpointConfig(url=f"http://127.0.0.1:{port}", limits=LIMITS))
        assert monotonic() - start < 1
        done.set()
        await asyncio.sleep(0)
    assert facts(probe)["endpoint.state"] == "stalled"
    assert "HTTP 200, and then" in probe.observations[0].quote


async def one_answer(status: str, body: str, headers: str = "") -> Probe:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        raw = body.encode()
        head = f"HTTP/1.1 {status}\r\n{headers}content-length: {len(raw)}\r\nconnection: close"
        writer.write(f"{head}\r\n\r\n".encode() + raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        config = EndpointConfig(url=f"http://127.0.0.1:{port}", limits=LIMITS)
        return await probe_endpoint(config)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("status", "body", "headers", "state"),
    [
        ("503 Service Unavailable", "", "", "error"),  # vLLM: the engine is dead
        ("503 X", '{"error":{"message":"Loading model","code":503}}', "", "starting"),
        ("302 Found", "", "location: https://accounts.google.com/o/oauth2\r\n", "forbidden"),
        ("302 Found", "", "location: https://example.com/\r\n", "error"),
        ("401 Unauthorized", '{"error":"Unauthorized"}', "", "forbidden"),
        ("429 Too Many Requests", '{"error":{"message":"slow down"}}', "", "error"),
        ("429 Too Many Requests", "Rate exceeded.", "", "no_instance"),
        ("404 Not Found", '{"detail":"Not Found"}', "", "error"),
        ("200 OK", '{"object":"list","data":[]}', "", "nonsense"),
        ("200 OK", '{"data":[{"id":"m"}]}', "", "ready"),
    ],
)
async def test_answers_by_status_and_body(status: str, body: str, headers: str, state: str) -> None:
    assert facts(await one_answer(status, body, headers))["endpoint.state"] == state


async def test_what_the_server_held_against_our_request() -> None:
    probe = await one_answer("401 Unauthorized", '{"error":"Unauthorized"}')
    assert facts(probe)["endpoint.caller_error"] == "Unauthorized"
    assert "API key" in probe.gaps[0].fix


async def test_control_characters_are_shown_not_sent() -> None:
    probe = await one_answer("500 X", "\x1b[31mred\x07")
    assert "\x1b" not in probe.observations[0].quote
    assert "red" in probe.observations[0].quote


@pytest.mark.parametrize("url", ["", "example.com", "ftp://x", "http://", "http://h:99999"])
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigurationError):
        await probe_endpoint(EndpointConfig(url=url, limits=LIMITS))


async def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(ConfigurationError, match="plain HTTP"):
        await probe_endpoint(EndpointConfig(url="http://192.0.2.1", limits=LIMITS), token="t")


async def test_headers_of_token_and_key() -> None:
    from tools.vllm.answers import endpoint_client

    config = EndpointConfig(url="https://x.run.app", limits=LIMITS)
    async with endpoint_client(config, "t") as client:
        assert client.headers["authorization"] == "Bearer t"
    async with endpoint_client(replace(config, api_key="k"), "t") as client:
        assert client.headers["authorization"] == "Bearer k"
        assert client.headers["x-serverless-authorization"] == "Bearer t"


ANSWERS = st.builds(
    Answer,
    path=st.just("/x"),
    status=st.integers(100, 599),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "location"]), st.text(max_size=30), max_size=2
    ),
    body=st.one_of(st.text(max_size=60), st.just("[" * 20_000), st.just('{"data": [1]}')),
)


@given(ANSWERS, ANSWERS)
def test_any_answer_has_a_state_and_ready_needs_a_model(health: Answer, models: Answer) -> None:
    state, decisive = classify(health, models)
    assert decisive in (health, models)
    if state == "ready":
        assert models.status == 200
