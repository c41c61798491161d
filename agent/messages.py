"""What is said to a model and what it says back: plain data, and the judgement of a reply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, TypedDict


class Message(TypedDict, total=False):
    """A chat message as the API takes it; a plain dictionary, so that it checkpoints as one."""

    role: str
    content: str | None
    tool_calls: list[dict[str, Any]]
    tool_call_id: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the model wrote it; ``problem`` says why it can't be run."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished reply; token counts are the server's own, 0 when it gave none."""

    content: str
    reasoning: str
    calls: tuple[Call, ...]
    finish: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class BrainDown(Exception):
    """The model gave no usable reply; the text says why, and the rules take over."""


# Text that only the tokenizer's control tokens may produce.
CONTROL_TEXT = re.compile(r"<\|?(?:tool_call|tool_response|turn|channel)\|?>")


def judge(reply: Reply) -> str:
    """Return why a reply is no answer, empty when it is one or asks for tools."""
    if any(call.problem for call in reply.calls):
        return next(call.problem for call in reply.calls if call.problem)
    if reply.calls:
        return ""
    if CONTROL_TEXT.search(reply.content):
        return "the reply holds a tool call written as text"
    if not reply.content.strip():
        if reply.reasoning.strip():
            return "the model only thought and gave no answer" + (
                " before its token limit" if reply.finish == "length" else ""
            )
        return "the model sent an empty reply"
    return ""


def parse_call(index: int, part: dict[str, str]) -> Call:
    """Make a call of what the stream brought; what can't be parsed is kept with its problem."""
    call_id = part["id"] or f"call-{index}"
    try:
        arguments = json.loads(part["arguments"] or "{}")
    except json.JSONDecodeError:
        return Call(
            call_id,
            part["name"],
            raw=part["arguments"],
            problem=f"the arguments of the tool call {part['name'] or '?'} are cut or no JSON",
        )
    if not isinstance(arguments, dict):
        return Call(
            call_id,
            part["name"],
            raw=part["arguments"],
            problem=f"the arguments of the tool call {part['name'] or '?'} are not an object",
        )
    return Call(call_id, part["name"], arguments, part["arguments"])
