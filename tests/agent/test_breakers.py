"""A model that looks and looks is told to answer, and if it does not, the rules do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.events import AnswerFinished
from agent.settings import Settings
from agent.summaries import RESULT_LIMIT, slice_of, summarize
from tools.domain import LogRecord
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario
from tools.tool import ToolResult

Diagnose = Callable[..., Awaitable[Any]]
ANSWER = {"reply": {"content": "The rules are right [E1]."}}
LAST = {"expect": {"contains": ["Answer now with what is known"]}, **ANSWER}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"reply": {"tool_calls": [{"name": name, "arguments": arguments}]}}


async def run(diagnose: Diagnose, steps: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    thinker = load_scenario("healthy").with_chat(steps)
    async with (
        SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud,
        SimulatedCloud(thinker) as brain,
    ):
        diagnosed = await diagnose(cloud, brain=brain)
        brain.assert_script_used()
        return diagnosed, [c.request for c in brain.calls_to("http:/v1/chat/completions")]


async def test_the_same_call_again_ends_in_an_answer(diagnose: Diagnose) -> None:
    same = call("list_revisions", limit=3)
    diagnosed, _ = await run(diagnose, [same, same, same, LAST])
    assert diagnosed.report["brain"]["mode"] == "model"
    ran = [e for e in diagnosed.events if getattr(e, "name", "") == "list_revisions"]
    assert len(ran) == 2  # started and finished, once


async def test_three_steps_without_news_end_in_an_answer(diagnose: Diagnose) -> None:
    steps = [call("read_output", call="probe-logs", offset=n * 10) for n in range(3)]
    diagnosed, _ = await run(diagnose, [*steps, LAST])
    assert diagnosed.report["brain"]["mode"] == "model"


async def test_the_last_step_is_the_answer(diagnose: Diagnose, settings: Settings) -> None:
    steps = [
        call("note_hypothesis", title=f"idea {n}", why="it may be")
        for n in range(settings.limits.model_steps - 1)
    ]
    diagnosed, _ = await run(diagnose, [*steps, LAST])
    assert diagnosed.report["brain"]["mode"] == "model"
    assert diagnosed.report["stats"]["model_calls"] == settings.limits.model_steps


async def test_a_model_that_will_not_stop_is_left(diagnose: Diagnose) -> None:
    same = call("list_revisions", limit=3)
    raw = {"reply": {"content": "<|tool_call>call:list_revisions{limit:3}<tool_call|>"}}
    forced = {"reply": {"content": '{"answer": ""}'}}
    diagnosed, _ = await run(diagnose, [same, same, same, raw, raw, forced])
    assert diagnosed.report["brain"]["mode"] == "rules"
    assert "the same call again and again" in diagnosed.report["brain"]["why"]
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    assert answer.author == "rules"


async def test_the_whole_of_a_probe_can_be_read_in_slices(diagnose: Diagnose) -> None:
    steps = [
        call("read_output", call="probe-logs"),
        {"expect": {"contains": ["[0 to 1000 of "]}, **ANSWER},
    ]
    diagnosed, _ = await run(diagnose, steps)
    assert diagnosed.report["brain"]["mode"] == "model"


async def test_a_tool_that_does_not_exist_is_told_and_not_run(diagnose: Diagnose) -> None:
    told = {"expect": {"contains": ["there is no tool 'run_shell'"]}, **ANSWER}
    diagnosed, _ = await run(diagnose, [call("run_shell", command="ls"), told])
    assert diagnosed.report["brain"]["mode"] == "model"


@pytest.mark.parametrize("count", [3, 60])
def test_a_result_enters_the_window_as_patterns_and_decisive_lines(count: int) -> None:
    records = tuple(
        LogRecord(f"i{n}", f"INFO request {n} done in {n * 7} ms" + " padding" * 10)
        for n in range(count)
    )
    failed = LogRecord("bad", "ValueError: No available memory for the cache blocks")
    result = ToolResult("entries", data=[], records=(*records, failed))
    text = summarize(result, "x" * 90_000, "r1-0")
    assert len(text) <= RESULT_LIMIT + 80
    assert "ValueError: No available memory" in text
    assert "read_output r1-0, 90000 characters" in text
    assert (f"{count}x" in text) == (count > 12)


def test_slices_cover_the_whole() -> None:
    content, at, seen = "".join(chr(97 + n % 26) for n in range(2500)), 0, ""
    while at < len(content):
        head, _, part = slice_of(content, at).partition("\n")
        seen, at = seen + part, at + len(part)
    assert seen == content
    assert "the end" in head
    assert "no output" in slice_of("", 0)
