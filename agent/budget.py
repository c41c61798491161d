"""What goes into the window: estimates that err on the safe side, cuts that keep the core."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import Message

# Gemma's tokenizer makes about 3.2 bytes a token of log text and JSON (more of prose); three
# bytes a token never counts too few on the texts that we send.
BYTES_PER_TOKEN = 3
# Tokens that the chat template adds to a message, and once to a request; rounded up.
PER_MESSAGE, PER_REQUEST = 8, 16
# Kept free of the window, so that input and output never reach it together.
MARGIN = 64
DEFAULT_WINDOW = 4096
MAX_ANSWER = 1024


def estimate_tokens(text: str) -> int:
    """Return an upper estimate of the tokens of a text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def estimate_request(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> int:
    """Return an upper estimate of the tokens of a request."""
    total = PER_REQUEST + (estimate_tokens(json.dumps(list(tools))) if tools else 0)
    for message in messages:
        total += PER_MESSAGE + estimate_tokens(message.get("content") or "")
        if calls := message.get("tool_calls"):
            total += estimate_tokens(json.dumps(calls))
    return total


def answer_room(window: int, used: int) -> int:
    """Return how many tokens an answer may take, at least 0."""
    return max(0, min(MAX_ANSWER, (window or DEFAULT_WINDOW) - used - MARGIN))


def fit_messages(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], window: int, room: int = 512
) -> list[Message]:
    """Return the messages, the oldest tool results cut first, so that ``room`` tokens stay free."""
    kept = [Message(**message) for message in messages]
    limit = (window or DEFAULT_WINDOW) - MARGIN - room
    for share in (400, 120):
        for message in kept[2:-1]:
            if estimate_request(kept, tools) <= limit:
                return kept
            content = message.get("content") or ""
            if message.get("role") in {"tool", "assistant"} and len(content) > share:
                message["content"] = content[:share] + " […]"
    while estimate_request(kept, tools) > limit and len(kept) > 3:
        _drop_oldest_step(kept)
    if estimate_request(kept, tools) > limit and kept:
        _cut_question(kept, tools, limit)
    return kept


def _drop_oldest_step(messages: list[Message]) -> None:
    # A tool result must not stand without the call that asked for it, so both go.
    del messages[2]
    while len(messages) > 2 and messages[2].get("role") == "tool":
        del messages[2]


def _cut_question(messages: list[Message], tools: Sequence[Mapping[str, Any]], limit: int) -> None:
    over = estimate_request(messages, tools) - limit
    longest = max(messages[1:] or messages, key=lambda m: len(m.get("content") or ""))
    content = longest.get("content") or ""
    keep = max(0, len(content) - over * BYTES_PER_TOKEN - 16)
    longest["content"] = content[:keep] + "\n[…]"
