"""Deterministic, plausible token counts for the simulated endpoint; not a real tokenizer.

Rule: a run of letters costs one token for each started six letters, every digit and every other
sign costs one, a space before a word costs nothing, further white space one a run. A chat message
costs five more (turn marks and role), the prompt one (BOS), and the generation prompt three, as in
Gemma's template. English prose comes out at about 1.3 tokens a word, logs higher.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PIECE = re.compile(r"[^\W\d_]{1,6}|\d|\s{2,}|\n|[^\w\s]|_")
MESSAGE_TOKENS, BOS_TOKENS, GENERATION_TOKENS = 5, 1, 3


def split_tokens(text: str) -> list[str]:
    """Return the pieces of a text that count as tokens."""
    return _PIECE.findall(text)


def count_text(text: str) -> int:
    """Return the tokens of a plain text."""
    return len(split_tokens(text))


def token_ids(text: str) -> list[int]:
    """Return stable made-up ids, one a token."""
    return [
        2 + sum(ord(c) * 31**i for i, c in enumerate(piece)) % 262_000
        for piece in split_tokens(text)
    ]


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a chat message, its parts and tool calls included."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content)
    calls = message.get("tool_calls")
    return (content or "") + (json.dumps(calls) if calls else "")


def count_chat(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> int:
    """Return the tokens of a chat prompt, tool schemas and generation prompt included."""
    total = BOS_TOKENS + GENERATION_TOKENS
    total += sum(MESSAGE_TOKENS + count_text(message_text(message)) for message in messages)
    if tools:
        total += MESSAGE_TOKENS + sum(count_text(json.dumps(tool)) for tool in tools)
    return total
