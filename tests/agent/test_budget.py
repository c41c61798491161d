from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.budget import MARGIN, answer_room, estimate_request, estimate_tokens, fit_messages
from agent.messages import Message

TEXT = st.text(max_size=3000)


def conversation(texts: list[str]) -> list[Message]:
    messages = [Message(role="system", content="rules"), Message(role="user", content="question")]
    for number, text in enumerate(texts):
        call = {"id": str(number), "type": "function", "function": {"name": "t", "arguments": "{}"}}
        messages.append(Message(role="assistant", content=None, tool_calls=[call]))
        messages.append(Message(role="tool", tool_call_id=str(number), content=text))
    return messages


@given(st.lists(TEXT, max_size=12), st.sampled_from([2048, 4096, 8192]))
def test_what_is_sent_leaves_room_in_the_window(texts: list[str], window: int) -> None:
    kept = fit_messages(conversation(texts), [], window)
    assert estimate_request(kept, []) + 512 + MARGIN <= window
    assert kept[0]["content"] == "rules"


@given(st.lists(TEXT, max_size=12))
def test_no_result_stands_without_its_call(texts: list[str]) -> None:
    kept = fit_messages(conversation(texts), [], 2048)
    asked = {call["id"] for message in kept for call in message.get("tool_calls") or ()}
    assert {m["tool_call_id"] for m in kept if m["role"] == "tool"} <= asked


@given(TEXT)
def test_a_question_larger_than_the_window_is_cut(text: str) -> None:
    messages = [Message(role="system", content="rules"), Message(role="user", content=text * 20)]
    kept = fit_messages(messages, [], 2048)
    assert answer_room(2048, estimate_request(kept, [])) > 0


@given(st.text(), st.text())
def test_the_estimate_only_grows(one: str, two: str) -> None:
    assert estimate_tokens(one + two) >= max(estimate_tokens(one), estimate_tokens(two))


def test_messages_are_not_changed_in_place() -> None:
    messages = conversation(["x" * 5000])
    fit_messages(messages, [], 1024)
    assert messages[-1]["content"] == "x" * 5000
