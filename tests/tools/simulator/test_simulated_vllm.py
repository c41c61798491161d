from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario
from tools.simulator.tokens import count_text

SHARED = Path(__file__).parents[4] / "shared" / "data" / "vllm-0.32"
MODEL = "gemma-4-peer"


@pytest.fixture
async def cloud() -> AsyncIterator[SimulatedCloud]:
    scenario = load_scenario("healthy").with_endpoint(
        model=MODEL, max_model_len=4096, metrics={"kv_usage": 0.25, "waiting": 3}
    )
    async with SimulatedCloud(scenario) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def transcript() -> dict[str, Any]:
    path = SHARED / "http-transcript.json"
    if not path.is_file():
        pytest.skip(f"the recorded transcript is not at {path}")
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


async def ask(http: httpx2.AsyncClient, exchange: dict[str, Any]) -> httpx2.Response:
    body = exchange["request"]
    if body is None:
        return await http.get(exchange["path"])
    if isinstance(body, str):
        return await http.post(exchange["path"], content=body)
    return await http.post(exchange["path"], json=body)


@pytest.mark.parametrize(
    "name",
    [
        "health",
        "version",
        "ping",
        "load",
        "err_unknown_model",
        "err_context",
        "err_max_tokens",
        "err_tool_schema",
        "err_no_messages",
        "err_bad_json",
        "err_temperature",
        "err_404",
    ],
)
async def test_answers_are_the_recorded_ones(
    http: httpx2.AsyncClient, transcript: dict[str, Any], name: str
) -> None:
    exchange = transcript[name]
    response = await ask(http, exchange)
    assert response.status_code == exchange["status"]
    assert (response.json() if response.content else "") == exchange["response"]
    assert response.headers.get("content-type") == exchange["headers"].get("content-type")


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize("name", ["v1/models", "tokenize", "tokenize_chat", "chat"])
async def test_answers_have_the_recorded_shape(
    http: httpx2.AsyncClient, transcript: dict[str, Any], name: str
) -> None:
    response = await ask(http, transcript[name])
    assert response.status_code == 200
    assert shape(response.json()) == shape(transcript[name]["response"])


@pytest.mark.parametrize("name", ["chat_stream", "chat_tools_auto_stream"])
async def test_streams_have_the_recorded_shape(
    http: httpx2.AsyncClient, transcript: dict[str, Any], name: str
) -> None:
    def chunks(text: str) -> list[Any]:
        lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
        assert lines[-1] == "[DONE]"
        return [shape(json.loads(line)) for line in lines[:-1]]

    recorded = chunks(transcript[name]["response"])
    made = chunks((await ask(http, transcript[name])).text)
    assert made[0] == recorded[0]
    assert made[1] == recorded[1]
    tail = -2 if name == "chat_stream" else -1
    assert made[tail:] == recorded[tail:]


async def test_metrics_are_vllms(http: httpx2.AsyncClient) -> None:
    text = (await http.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (usage,) = families["vllm:kv_cache_usage_perc"].samples
    assert usage.value == 0.25
    assert usage.labels == {"engine": "0", "model_name": MODEL}
    assert families["vllm:num_requests_waiting"].samples[0].value == 3


async def test_metric_names_exist_in_vllm(http: httpx2.AsyncClient) -> None:
    path = SHARED / "metrics_vllm_0.32.txt"
    if not path.is_file():
        pytest.skip(f"the recorded metric names are not at {path}")
    real = {tuple(line.split()) for line in path.read_text().splitlines()}
    text = (await http.get("/metrics")).text
    ours = {tuple(line.split()[2:4]) for line in text.splitlines() if line.startswith("# TYPE")}
    assert ours <= real


async def test_served_requests_are_counted(http: httpx2.AsyncClient) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    usage = (await http.post("/v1/chat/completions", json=body)).json()["usage"]
    text = (await http.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["vllm:prompt_tokens"].samples[0].value == usage["prompt_tokens"]
    finished = {
        sample.labels["finished_reason"]: sample.value
        for sample in families["vllm:request_success"].samples
    }
    assert finished["stop"] == 1


async def test_prompt_and_answer_share_the_window(http: httpx2.AsyncClient) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "error " * 4000}],
        "max_tokens": 200,
    }
    counted = (await http.post("/tokenize", json={**body, "add_generation_prompt": True})).json()
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input_tokens"
    assert str(counted["count"]) in response.json()["error"]["message"]
    body["max_tokens"] = 4096 - counted["count"]
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    body["max_tokens"] += 1
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 400


async def test_an_empty_tool_list_is_refused(http: httpx2.AsyncClient) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "tools": []}
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "empty array" in response.json()["error"]["message"]


def test_counts_are_plausible() -> None:
    prose = "The revision failed because no kernel can implement the layer on this card."
    assert 13 <= count_text(prose) <= 20
    assert count_text("error " * 100) == 100
    assert count_text("2026") == 4
