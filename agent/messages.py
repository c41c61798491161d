"""What is said to a model and what it says back, as plain data."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, TypedDict


class Message(TypedDict, total=False):
    """A chat message as the API takes it; a plain dictionary, so that it checkpoints as one.

    In the state ``content`` is text; parts with images exist only in what is sent.
    """

    role: str
    content: Any
    tool_calls: list[dict[str, Any]]
    tool_call_id: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the model wrote it; ``problem`` says why it can't be run.

    ``repaired`` says what was mended; only a read may run then.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    problem: str = ""
    repaired: str = ""


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
    """The model gave no usable reply; the text says why, and the rules take over.

    ``retry`` when the same request may succeed a little later; ``after`` is the seconds that the
    server asked for. ``status`` and ``body`` are those of an HTTP error, 0 and empty without one.
    """

    def __init__(
        self, why: str, *, retry: bool = False, after: float = 0.0, status: int = 0, body: str = ""
    ) -> None:
        super().__init__(why)
        self.retry = retry
        self.after = after
        self.status = status
        self.body = body


# Text that only the tokenizer's control tokens may produce.
CONTROL_TEXT = re.compile(
    r"<\|?/?(?:tool_call|tool_response|tool|turn|channel|start_of_turn|end_of_turn)\|?>|<\|\"\|>"
)


def parse_call(part: dict[str, str]) -> Call:
    """Make a call of what the stream brought; what can't be parsed is kept with its problem."""
    call_id = part["id"]
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
