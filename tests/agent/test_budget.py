"""No request is ever larger than the window, and compaction keeps what matters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.budget import DONE, MARGIN, OVERHEAD, answer_room, compact, input_limit
from agent.events import AnswerFinished, EndpointState
from agent.messages import Message
from agent.opening import _prompt
from agent.tokens import TokenCounter, estimate_request, estimate_tokens, text_of
from agent.tool_choice import _BY_KIND, MAX_TOOLS, NOTE_SCHEMA, READ_OUTPUT_SCHEMA, compact_schema
from tools.registry import load_tools
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario, shipped_scenarios
from tools.simulator.tokens import count_chat

Diagnose = Callable[..., Awaitable[Any]]
TEXT = st.text(max_size=2000)
WINDOWS = [4096, 8192, 16384]


def conversation(texts: Sequence[str]) -> list[Message]:
    question = "Verdict by rules: confirmed.\n[E1] logging: it failed\n\nQuestion: why?"
    messages = [Message(role="system", content="rules"), Message(role="user", content=question)]
    for number, text in enumerate(texts, 1):
        name = ("read_logs", "list_revisions", "read_series")[number % 3]
        call = {
            "id": f"r{number}-0",
            "type": "function",
            "function": {"name": name, "arguments": "{}"},
        }
        messages.append(Message(role="assistant", content=f"plan {number}", tool_calls=[call]))
        messages.append(Message(role="tool", tool_call_id=f"r{number}-0", content=text))
    return messages


def measure(messages: Sequence[Message]) -> int:
    return estimate_request(messages, [])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(TEXT, max_size=10), st.sampled_from([700, 2048, 4096, 8192]))
def test_what_is_sent_leaves_room_for_an_answer(texts: list[str], window: int) -> None:
    kept = compact(conversation(texts), input_limit(window), measure).messages
    used = measure(kept)
    assert used <= input_limit(window)
    assert used + answer_room(window, used) + MARGIN <= window
    assert kept[0]["content"] == "rules"
    assert "Verdict by rules: confirmed." in text_of(kept[1])
    assert "Question: why?" in text_of(kept[1])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(TEXT, max_size=10), st.sampled_from([700, 1500, 4000]))
def test_no_result_stands_without_its_call(texts: list[str], limit: int) -> None:
    kept = compact(conversation(texts), limit, measure).messages
    asked = {call["id"] for message in kept for call in message.get("tool_calls") or ()}
    assert {m["tool_call_id"] for m in kept if m["role"] == "tool"} == asked


def test_evidence_references_and_plan_survive_a_fold() -> None:
    texts = [f"{n} entries\n" + "filler " * 400 + f"[E{n}]" for n in range(1, 9)]
    done = compact(conversation(texts), 900, measure)
    text = text_of(done.messages[1]).partition(DONE)[2]
    assert "r5-0" in text
    assert "E5" in text
    assert text.count("- said:") <= 1
    again = compact(done.messages, 900, measure)
    assert again.level == 0
    assert again.messages == done.messages


def test_a_fold_joins_what_was_folded_before() -> None:
    once = compact(conversation(["x " * 900] * 4), 900, measure).messages
    more = [*once, *conversation(["y " * 900] * 3)[2:]]
    twice = compact(more, 900, measure).messages
    assert sum(text_of(m).count(DONE) for m in twice) == 1
    assert "[r1-0]" in text_of(twice[1])


def test_what_is_superseded_goes_first() -> None:
    long = "first line\n" + "word " * 300
    messages = conversation([long] * 4)  # the first and the fourth ask the same tool
    limit = measure(messages) - 10
    kept = compact(messages, limit, measure)
    assert kept.level == 1
    assert text_of(kept.messages[3]).startswith("superseded: first line")
    assert text_of(kept.messages[-1]) == long


def test_nothing_is_cut_without_need_nor_in_place() -> None:
    messages = conversation(["x " * 500] * 3)
    before = json.dumps(messages)
    assert compact(messages, 100_000, measure).messages == messages
    compact(messages, 500, measure)
    assert json.dumps(messages) == before


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=300), st.text(max_size=300))
def test_the_estimate_only_grows(one: str, two: str) -> None:
    assert estimate_tokens(one + two) >= max(estimate_tokens(one), estimate_tokens(two)) - 1


@settings(deadline=None)  # the machine may be busy
@given(st.lists(TEXT, max_size=4), st.floats(0.4, 2.5))
def test_a_counter_that_has_learnt_is_never_below_the_truth(texts: list[str], rate: float) -> None:
    counter, messages = TokenCounter(), conversation(texts)
    exact = int(estimate_request(messages, []) * rate)
    counter.learn(exact, messages, [])
    assert exact <= counter.estimate(messages, []) <= exact * 1.1 + 32


def sets_of_tools() -> list[tuple[str, ...]]:
    names = sorted(load_tools())
    kinds = [tuple(n for n in names if n in load_tools()) for names in _BY_KIND.values()]
    return [*kinds, *itertools.combinations(names, min(MAX_TOOLS, len(names)))]


@pytest.mark.parametrize("prompt", ["chat", "diagnose"])
def test_system_prompt_and_schemas_of_every_tool_set(prompt: str) -> None:
    tools = {name: compact_schema(tool) for name, tool in load_tools().items()}
    system = [Message(role="system", content=_prompt(prompt))]
    largest = 0
    for names in sets_of_tools():
        offered = [*(tools[name] for name in names), NOTE_SCHEMA, READ_OUTPUT_SCHEMA]
        largest = max(largest, count_chat(system, offered))
    assert largest <= OVERHEAD


def talkative(steps: int) -> list[dict[str, Any]]:
    """A model that looks at something else in every step and says a lot about it."""
    chat: list[dict[str, Any]] = []
    for step in range(steps):
        minutes, limit = 60 + step, 200 + step
        calls = [
            {"name": "read_logs", "arguments": {"minutes": minutes, "limit": limit}},
            {"name": "list_revisions", "arguments": {"limit": 1 + step % 9}},
        ]
        prose = f"Step {step}: I should look further. " * 30
        chat.append({"reply": {"content": prose, "tool_calls": calls}})
    return [*chat, {"reply": {"content": "The rules are right [E1]."}}]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", [info.name for info in shipped_scenarios()][:3])
async def test_a_model_that_talks_too_much_never_overflows(
    diagnose: Diagnose, name: str, window: int
) -> None:
    thinker = load_scenario("healthy").with_chat(talkative(5)).with_endpoint(max_model_len=window)
    async with SimulatedCloud(load_scenario(name)) as cloud, SimulatedCloud(thinker) as brain:
        diagnosed = await diagnose(cloud, brain=brain)
        asked = brain.calls_to("http:/v1/chat/completions")
    assert all(call.status == "200" for call in asked)
    assert diagnosed.report["brain"]["mode"] == "model"
    assert len(asked) <= 6
    states = [e for e in diagnosed.events if isinstance(e, EndpointState) and e.used]
    assert all(0 < state.used < state.window == window for state in states)


async def test_it_finishes_at_4096_from_the_patient_itself(diagnose: Diagnose) -> None:
    steps = [{"reply": {"content": "The service is healthy [E1]."}}]
    scenario = load_scenario("healthy").with_chat(steps).with_endpoint(max_model_len=4096)
    async with SimulatedCloud(scenario) as cloud:
        diagnosed = await diagnose(cloud)
        cloud.assert_script_used()
    assert diagnosed.report["brain"]["mode"] == "model"
    assert any(isinstance(event, AnswerFinished) for event in diagnosed.events)


async def test_the_server_counts_at_most_once_a_step(diagnose: Diagnose) -> None:
    thinker = load_scenario("healthy").with_chat(talkative(4)).with_endpoint(max_model_len=4096)
    async with (
        SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud,
        SimulatedCloud(thinker) as brain,
    ):
        await diagnose(cloud, brain=brain)
        asked = brain.calls_to("http:/v1/chat/completions")
        assert 1 <= len(brain.calls_to("http:/tokenize")) <= len(asked)
