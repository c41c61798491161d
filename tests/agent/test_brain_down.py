"""The brain is the patient: whatever it does, the verdict is the same and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.events import AnswerDelta, AnswerFinished, BrainChanged
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

Diagnose = Callable[..., Awaitable[Any]]
EXPECTED = ("confirmed", ["wna16-no-kernel"], ["confirmed"])

BEHAVIOURS = {
    "refuse": "refuse",
    "reset": "",
    "hangup": "",
    "stall": "does not answer",
    "unavailable": "503",
    "starting_500": "",
    "starting_503": "starting",
    "forbidden_html": "HTTP 403",
    "no_instance": "429",
    "malformed": "",
    "empty_body": "",
    "empty_reply": "empty reply",
    "only_reasoning": "only thought",
    # Mended and run; what then comes again and again is a loop, which a breaker ends.
    "cut_tool_call": "the same call again and again",
    "tool_call_as_text": "the same call again and again",
    "stall_stream": "the stream stopped after 6 tokens",
    "cut_stream": "",
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_the_patient_misbehaves(diagnose: Diagnose, behaviour: str) -> None:
    async with SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud:
        cloud.behave(behaviour)
        diagnosed = await diagnose(cloud)
    assert diagnosed.core() == EXPECTED
    brain = diagnosed.report["brain"]
    assert brain["mode"] == "rules"
    assert BEHAVIOURS[behaviour] in brain["why"]
    assert diagnosed.report["stats"]["seconds"] < 10
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    assert answer.author == "rules"
    assert any(isinstance(e, BrainChanged) and e.mode == "rules" for e in diagnosed.events)


@pytest.mark.parametrize(
    "reply",
    [
        {"content": "<|tool_call>"},
        {"content": "<|tool_call>call:"},
        {"content": ""},
        {"content": "   "},
        {"reasoning": "hm", "content": "", "finish_reason": "length"},
    ],
)
async def test_what_is_no_answer_is_told_once_then_forced_and_never_shown(
    diagnose: Diagnose, reply: dict[str, Any]
) -> None:
    steps = [
        {"reply": reply},
        {"expect": {"contains": ["That reply can't be used"]}, "reply": reply},
        {"expect": {"contains": ["one JSON object"]}, "reply": {"raw": "data: [DONE]\n\n"}},
    ]
    async with SimulatedCloud(load_scenario("int4-kernel-l4").with_chat(steps)) as cloud:
        diagnosed = await diagnose(cloud)
        cloud.assert_script_used()
    assert diagnosed.core() == EXPECTED
    assert diagnosed.report["brain"]["mode"] == "rules"
    shown = "".join(e.text for e in diagnosed.events if isinstance(e, AnswerDelta))
    assert "<" not in shown


async def test_the_enforced_step_is_the_last_resort(diagnose: Diagnose) -> None:
    step = {"action": "answer", "answer": "It is the kernel [E1]."}
    steps = [
        {"reply": {"content": ""}},
        {"reply": {"content": "<|tool_call>"}},
        {"reply": {"content": json.dumps(step)}},
    ]
    async with SimulatedCloud(load_scenario("int4-kernel-l4").with_chat(steps)) as cloud:
        diagnosed = await diagnose(cloud)
        cloud.assert_script_used()
    assert diagnosed.report["brain"]["mode"] == "model"
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    assert answer.text.startswith("It is the kernel [E1].")
    shown = "".join(e.text for e in diagnosed.events if isinstance(e, AnswerDelta))
    assert "action" not in shown


async def test_a_second_try_that_works_is_the_answer(diagnose: Diagnose) -> None:
    steps = [{"reply": {"content": ""}}, {"reply": {"content": "It is the kernel [E1]."}}]
    async with SimulatedCloud(load_scenario("int4-kernel-l4").with_chat(steps)) as cloud:
        diagnosed = await diagnose(cloud)
        cloud.assert_script_used()
    assert diagnosed.report["brain"]["mode"] == "model"
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    assert answer.text == "It is the kernel [E1]."
    assert diagnosed.report["stats"]["model_calls"] == 2
