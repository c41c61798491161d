from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tools.simulator.cloud import ScriptMismatch, SimulatedCloud
from tools.simulator.scenario import load_scenario

TOOL: Any = {
    "type": "function",
    "function": {"name": "read_logs", "parameters": {"type": "object", "properties": {}}},
}
STEPS = [
    {
        "expect": {"last_role": "user", "contains": ["why"], "tools_include": ["read_logs"]},
        "reply": {
            "reasoning": "I should read the logs.",
            "tool_calls": [{"name": "read_logs", "arguments": {"minutes": 30}}],
        },
    },
    {"expect": {"last_role": "tool", "stream": True}, "reply": {"content": "No kernel fits."}},
]


@pytest.fixture
async def cloud() -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(load_scenario("healthy").with_chat(STEPS)) as simulated:
        yield simulated


@pytest.fixture
async def model(cloud: SimulatedCloud) -> AsyncIterator[AsyncOpenAI]:
    client = AsyncOpenAI(base_url=f"{cloud.base_url}/v1", api_key="x", max_retries=0, timeout=2)
    async with client:
        yield client


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_a_script_plays_step_by_step(cloud: SimulatedCloud, model: AsyncOpenAI) -> None:
    first = await model.chat.completions.create(
        model=cloud.model, messages=user("why?"), tools=[TOOL]
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls or ()
    assert call.type == "function"
    assert call.function.arguments == '{"minutes": 30}'
    assert message.model_extra is not None
    assert message.model_extra["reasoning"] == "I should read the logs."
    with pytest.raises(ScriptMismatch, match="1 of 2"):
        cloud.assert_script_used()
    answer: list[Any] = [{"role": "tool", "tool_call_id": call.id, "content": "log lines"}]
    stream = await model.chat.completions.create(
        model=cloud.model,
        messages=user("why?") + answer,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == "No kernel fits."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > chunks[-1].usage.completion_tokens
    cloud.assert_script_used()


async def test_streamed_tool_calls_join_to_the_scripted_json(
    cloud: SimulatedCloud, model: AsyncOpenAI
) -> None:
    stream = await model.chat.completions.create(
        model=cloud.model, messages=user("why?"), tools=[TOOL], stream=True
    )
    arguments, reasoning, finish = "", "", None
    async for chunk in stream:
        choice = chunk.choices[0]
        reasoning += (choice.delta.model_extra or {}).get("reasoning") or ""
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            arguments += call.function.arguments or ""
        finish = choice.finish_reason or finish
    assert arguments == '{"minutes": 30}'
    assert reasoning == "I should read the logs."
    assert finish == "tool_calls"


@pytest.mark.parametrize(
    ("messages", "tools", "words"),
    [
        (user("what?"), [TOOL], "contains 'why'"),
        ([{"role": "system", "content": "why"}], [TOOL], "of system, not of user"),
        (user("why?"), None, "'read_logs' is not offered"),
    ],
)
async def test_an_unexpected_request_fails_at_once(
    cloud: SimulatedCloud, model: AsyncOpenAI, messages: list[Any], tools: Any, words: str
) -> None:
    with pytest.raises(openai.InternalServerError, match="simulation"):
        await model.chat.completions.create(
            model=cloud.model, messages=messages, tools=tools or openai.omit
        )
    with pytest.raises(ScriptMismatch, match=words):
        cloud.assert_script_used()


async def test_a_scenario_without_script_answers_nothing(
    cloud: SimulatedCloud, model: AsyncOpenAI
) -> None:
    cloud.script(None)
    cloud.assert_script_used()
    with pytest.raises(openai.InternalServerError):
        await model.chat.completions.create(model=cloud.model, messages=user("why?"))
    with pytest.raises(ScriptMismatch, match="unexpected"):
        cloud.assert_script_used()


async def test_freeform_names_evidence_of_the_prompt(
    cloud: SimulatedCloud, model: AsyncOpenAI
) -> None:
    cloud.script("freeform")
    prompt = "E1: ValueError: no kernel\nE2: Container called exit(1)"
    reply = await model.chat.completions.create(model=cloud.model, messages=user(prompt))
    text = reply.choices[0].message.content or ""
    assert "E1 and E2" in text
    assert "ValueError: no kernel" in text
    schema: Any = {
        "type": "object",
        "properties": {
            "verdict": {"enum": ["likely", "insufficient"]},
            "evidence": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["verdict", "evidence"],
    }
    shaped = await model.chat.completions.create(
        model=cloud.model,
        messages=user(prompt),
        response_format={"type": "json_schema", "json_schema": {"name": "v", "schema": schema}},
    )
    assert shaped.choices[0].message.content == '{"verdict": "likely", "evidence": ["E1", "E2"]}'


async def test_a_scripted_answer_must_fit_the_schema(
    cloud: SimulatedCloud, model: AsyncOpenAI
) -> None:
    cloud.script([{"reply": {"content": '{"verdict": 7}'}}])
    schema: Any = {"type": "object", "properties": {"verdict": {"type": "string"}}}
    with pytest.raises(openai.InternalServerError, match="breaks the schema"):
        await model.chat.completions.create(
            model=cloud.model,
            messages=user("why?"),
            response_format={"type": "json_schema", "json_schema": {"name": "v", "schema": schema}},
        )
