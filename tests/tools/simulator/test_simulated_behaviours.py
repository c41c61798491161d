from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tools.errors import UsageError
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.endpoint_server import BEHAVIOURS
from tools.simulator.scenario import scenario_schema

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "why?"}]}


async def chat(http: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json={**CHAT, **fields})


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("unavailable", 503, "Service Unavailable"),
        ("starting_503", 503, "Service Unavailable"),
        ("starting_500", 500, "Please try again in 30 seconds"),
        ("forbidden_html", 403, "<title>403 Forbidden</title>"),
        ("no_instance", 429, "no available instance"),
    ],
)
async def test_front_end_answers(
    cloud: SimulatedCloud, http: httpx2.AsyncClient, name: str, status: int, words: str
) -> None:
    cloud.behave(name)
    for response in (await http.get("/health"), await chat(http)):
        assert response.status_code == status
        assert words in response.text
        assert "json" not in response.headers["content-type"]
    cloud.behave("normal")
    assert (await http.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("refuse", httpx2.ConnectError),
        ("stall", httpx2.ReadTimeout),
        ("hangup", httpx2.RemoteProtocolError),
        ("reset", httpx2.ReadError),
    ],
)
async def test_broken_connections(
    cloud: SimulatedCloud, http: httpx2.AsyncClient, name: str, error: type[Exception]
) -> None:
    assert (await http.get("/health")).status_code == 200
    cloud.behave(name)
    with pytest.raises(error):
        await http.get("/v1/models", timeout=0.1)
    cloud.behave("normal")
    assert (await http.get("/health")).status_code == 200


async def test_a_refused_port_is_kept_and_comes_back(
    cloud: SimulatedCloud, http: httpx2.AsyncClient
) -> None:
    for _ in range(3):
        cloud.behave("refuse")
        with pytest.raises(httpx2.ConnectError):
            await http.get("/health")
        cloud.behave("refuse")
        cloud.behave("normal")
        cloud.behave("normal")
        assert (await http.get("/health")).status_code == 200


async def test_nonsense_of_the_model(cloud: SimulatedCloud, http: httpx2.AsyncClient) -> None:
    cloud.behave("empty_reply")
    (choice,) = (await chat(http)).json()["choices"]
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "stop"
    cloud.behave("only_reasoning")
    (choice,) = (await chat(http)).json()["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning"]
    assert choice["finish_reason"] == "length"
    events = (await chat(http, stream=True)).text.split("\n\n")
    deltas = [json.loads(one.removeprefix("data: "))["choices"][0] for one in events[:-2]]
    assert not any(one["delta"].get("content") for one in deltas)
    assert deltas[-1]["finish_reason"] == "length"
    cloud.behave("cut_tool_call")
    (choice,) = (await chat(http)).json()["choices"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])
    cloud.behave("tool_call_as_text")
    (choice,) = (await chat(http)).json()["choices"]
    assert choice["message"]["content"].startswith("<|tool_call>")
    cloud.behave("malformed")
    with pytest.raises(json.JSONDecodeError):
        (await chat(http)).json()
    cloud.behave("empty_body")
    assert (await chat(http)).content == b""
    assert (await http.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("name", "error"),
    [("stall_stream", openai.APITimeoutError), ("cut_stream", openai.APIConnectionError)],
)
async def test_streams_that_do_not_end(
    cloud: SimulatedCloud, name: str, error: type[Exception]
) -> None:
    cloud.behave(name)
    text = ""
    async with AsyncOpenAI(
        base_url=f"{cloud.base_url}/v1", api_key="x", timeout=0.15, max_retries=0
    ) as model:
        stream = await model.chat.completions.create(
            model=cloud.model, messages=[{"role": "user", "content": "why?"}], stream=True
        )
        with pytest.raises(error):
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
    assert text.startswith("The revision")


@pytest.mark.parametrize("scenario_name", ["scaled-to-zero"])
async def test_waking_is_noticed(cloud: SimulatedCloud, http: httpx2.AsyncClient) -> None:
    assert not cloud.woken
    assert cloud.calls_to("http:/health") == []
    assert (await http.get("/health")).status_code == 503
    assert cloud.woken
    cloud.clock.advance(60)
    assert (await http.get("/health")).status_code == 503
    cloud.clock.advance(200)
    assert (await http.get("/health")).status_code == 200


async def test_a_fault_hits_one_path(cloud: SimulatedCloud, http: httpx2.AsyncClient) -> None:
    cloud.inject("http:/metrics", behaviour="unavailable", times=1)
    cloud.inject("http:/v1/models", error={"status": 500, "message": "boom"}, times=1)
    cloud.inject("http:/load", latency=0.05)
    assert (await http.get("/metrics")).status_code == 503
    assert (await http.get("/metrics")).status_code == 200
    assert (await http.get("/v1/models")).json()["error"]["message"] == "boom"
    start = time.perf_counter()
    await http.get("/load")
    assert time.perf_counter() - start >= 0.05
    assert [call.status for call in cloud.calls] == ["503", "200", "500", "200"]


async def test_a_private_service_wants_a_token(cloud: SimulatedCloud) -> None:
    private = SimulatedCloud(cloud.scenario.with_endpoint(private=True))
    async with private, httpx2.AsyncClient(base_url=private.base_url) as http:
        assert (await http.get("/health")).status_code == 403
        headers = {"authorization": "Bearer x"}
        assert (await http.get("/health", headers=headers)).status_code == 200


async def test_an_unknown_behaviour_is_refused(cloud: SimulatedCloud) -> None:
    with pytest.raises(UsageError, match="is not a behaviour"):
        cloud.behave("sulk")


def test_the_schema_knows_every_behaviour() -> None:
    allowed = scenario_schema()["properties"]["endpoint"]["properties"]["behaviour"]["enum"]
    assert set(allowed) == set(BEHAVIOURS)
