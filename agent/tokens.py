"""How many tokens a text is: a local estimate, corrected by what the server itself counted."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import Message

# Measured with Gemma's own vocabulary over runbooks, logs and schemas: 1.0 to 1.5 times the true
# count (bytes / 3 is 0.6 times it on logs, where every digit is a token).
_PIECE = re.compile(r"[A-Za-z]+|[^\W\d_a-zA-Z]|\d|\n[ \t]*|[ \t]+|[^\w\s]|_|\s")
_WORD, _MIXED, _LONG, _FOREIGN, _MARGIN = 5, 2, 12, 1.3, 1.1
# Tokens that the chat template adds to a message, and once to a request; rounded up.
PER_MESSAGE, PER_REQUEST = 8, 16
# What stays on top of a corrected estimate: texts differ from those it was corrected by.
_SAFETY = 1.08


def estimate_tokens(text: str) -> int:
    """Return an estimate of the tokens of a text that errs on the high side."""
    total = 0.0
    for piece in _PIECE.findall(text):
        first = piece[0]
        if first.isascii() and first.isalpha():
            plain = len(piece) <= _LONG and (piece.islower() or piece.istitle())
            total += math.ceil(len(piece) / (_WORD if plain else _MIXED))
        elif first == "\n":
            total += 1 + (len(piece) > 1)
        elif first in " \t":
            total += len(piece) > 1
        else:
            total += 1 if first.isascii() else _FOREIGN
    return math.ceil(total * _MARGIN)


def estimate_request(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> int:
    """Return an estimate of the tokens of a request, before any correction."""
    total = PER_REQUEST + sum(estimate_tokens(json.dumps(tool)) for tool in tools)
    for message in messages:
        total += PER_MESSAGE + estimate_tokens(text_of(message))
        if calls := message.get("tool_calls"):
            total += estimate_tokens(json.dumps(calls))
    return total


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, without its images."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


class TokenCounter:
    """The estimate for one server, corrected by the highest of its last exact counts."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=8)

    @property
    def calibrated(self) -> bool:
        """Tell whether the server has counted anything yet."""
        return bool(self._ratios)

    def estimate(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> int:
        """Return an upper estimate of the tokens of a request."""
        return self.correct(estimate_request(messages, tools))

    def correct(self, raw: int) -> int:
        """Return an estimate of ``estimate_request`` as this server would count it."""
        if not self._ratios:
            return raw
        return math.ceil(raw * max(self._ratios) * _SAFETY) + PER_REQUEST

    def learn(
        self, exact: int, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in what the server counted for a request."""
        raw = estimate_request(messages, tools)
        if exact > 0 and raw > 0:
            self._ratios.append(min(4.0, max(0.3, exact / raw)))
