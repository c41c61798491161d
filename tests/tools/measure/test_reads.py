from __future__ import annotations

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Target
from tools.load.stub import Behaviour, SimulatedEndpoint
from tools.load.stub_service import Queue, Timetable
from tools.measure.reads import query_model, watch_metrics
from tools.tool import ToolContext


def context(url: str) -> ToolContext:
    return ToolContext(Target("local", url=url), CloudConfig(), EndpointConfig(url=url))


async def test_the_model_is_asked_and_measured() -> None:
    async with SimulatedEndpoint(Behaviour(service=Timetable(0.01, 0.005))) as server:
        result = await query_model.run(context(server.url), max_tokens=4)
    assert result.summary.startswith("ok, finish reason length, first token after ")
    assert result.data["completion_tokens"] == 4
    assert result.observations[0].quote == result.summary


async def test_what_the_server_does_not_tell_is_named() -> None:
    async with SimulatedEndpoint(Behaviour(service=Queue(1, 0.01, 0))) as server:
        result = await watch_metrics.run(context(server.url), seconds=0.02)
    assert result.summary == "no threshold is broken, 0 running, 0 waiting"
    assert "ttft_p50" in result.data["unknown"]
    assert {v["id"]: v["state"] for v in result.data["verdicts"]}["kv-full"] == "unknown"
