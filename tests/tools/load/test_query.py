from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.config import EndpointConfig, TimeLimits
from tools.errors import EndpointError, EndpointRefused, EndpointStalled, UsageError
from tools.load.query import QueryStats, query_with_stats
from tools.load.stub import Behaviour, SimulatedEndpoint
from tools.load.stub_service import Timetable

LIMITS = TimeLimits(connect=1, health=1, first_token=0.2, stall=0.15, answer=2)


async def ask(behaviour: Behaviour, prompt: str = "hello there", **more: object) -> QueryStats:
    async with SimulatedEndpoint(behaviour) as server:
        config = EndpointConfig(url=server.url, model="stub", limits=LIMITS)
        return await query_with_stats(config, prompt, max_tokens=8, **more)  # type: ignore[arg-type]


async def test_an_answer_with_its_figures() -> None:
    heard: list[tuple[str, str]] = []
    behaviour = Behaviour(service=Timetable(0.02, 0.01), tokens_per_chunk=2, reasoning_tokens=2)
    stats = await ask(behaviour, listener=lambda kind, text: heard.append((kind, text)))
    assert stats.outcome == "ok"
    assert stats.answer == " word" * 6
    assert stats.reasoning == " word" * 2
    assert [kind for kind, _ in heard] == ["reasoning", "content", "content", "content"]
    assert (stats.chunks, stats.completion_tokens, stats.prompt_tokens) == (4, 8, 10)
    assert stats.reasoning_tokens == 2
    assert stats.ttft_reasoning is not None
    assert stats.ttft_content is not None
    assert stats.ttft_reasoning >= 20
    assert stats.ttft_content - stats.ttft_reasoning == pytest.approx(10, abs=9)
    assert stats.tpot is not None
    assert stats.tokens_per_s is not None
    assert stats.tpot * stats.tokens_per_s == pytest.approx(1000)
    assert stats.chunk_gap is not None
    assert stats.chunk_gap.count == 3
    assert stats.finish_reason == "length"


async def test_a_stream_that_broke_is_shown_as_that() -> None:
    stats = await ask(Behaviour(service=Timetable(0.005, 0.005), faults=("error_object",)))
    assert stats.outcome == "error in stream"
    assert stats.detail == "EngineCore died"
    assert stats.answer == " word" * 4


async def test_where_no_answer_began() -> None:
    with pytest.raises(EndpointError, match="429"):
        await ask(Behaviour(faults=("429",)))
    with pytest.raises(EndpointStalled):
        await ask(Behaviour(faults=("silent",)))
    with pytest.raises(EndpointRefused):
        await query_with_stats(
            EndpointConfig(url="http://127.0.0.1:9", model="m", limits=LIMITS), "x"
        )


async def test_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    async with SimulatedEndpoint(Behaviour(service=Timetable())) as server:
        config = EndpointConfig(url=server.url, model="stub", limits=LIMITS)
        assert (await query_with_stats(config, "what?", images=[path])).outcome == "ok"
        assert "data:image/png;base64,iVBORw0KGgo=" in server.prompts[0]
        path.write_bytes(b"text")
        with pytest.raises(UsageError, match="not a PNG"):
            await query_with_stats(config, "what?", images=[path])
        with pytest.raises(UsageError, match="no question"):
            await query_with_stats(config, " ")
        with pytest.raises(UsageError, match="--model"):
            await query_with_stats(replace(config, model=""), "x")
