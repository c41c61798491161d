"""Prompts of a load run: unique from the first token and of exact length, or real ones of a file.

Prefix caching shares whole blocks from the start of a prompt on, so a prompt that differs in its
first words shares nothing. What follows may then be a slice of one long seeded text, which costs
the client microseconds even for prompts of 100,000 tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import orjson

from tools.errors import UsageError

MAX_FILE = 256 * 1024 * 1024  # bytes
HEAD_WORDS = 3
_MARK = "PROMPT_GOES_HERE"


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What every request of a cell asks for, besides its prompt.

    ``ignore_eos`` makes each answer exactly ``max_tokens`` long (an extension of vLLM's API).
    ``thinking`` None leaves it to the model's chat template.
    """

    model: str
    max_tokens: int
    ignore_eos: bool = True
    thinking: bool | None = None
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def payload(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON of a request."""
        told: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            told["ignore_eos"] = True
        if self.temperature is not None:
            told["temperature"] = self.temperature
        if self.thinking is not None:
            told["chat_template_kwargs"] = {"enable_thinking": self.thinking}
        return {**told, **self.extra}


def shipped_words() -> tuple[str, ...]:
    """Return common English words, each of which is one token in most vocabularies."""
    return tuple(Path(__file__).with_name("words.txt").read_text("ascii").split())


class UniquePrompts:
    """Prompts of ``words`` words, each unique from its first words on.

    Of V words, the first V prompts differ in the first word, V² in the first two, V³ in three:
    less than a block of the prefix cache (16 tokens), so no block is ever shared.
    """

    def __init__(
        self, vocabulary: tuple[str, ...], words: int, seed: str, shape: RequestShape
    ) -> None:
        if words < 1:
            raise UsageError("The input length is shorter than the chat template alone.")
        if len(vocabulary) < 2:
            raise UsageError("Too few words are one token each to build prompts of exact length.")
        random = Random(f"prompts {seed}")  # noqa: S311 - not for secrets
        self._first = list(vocabulary)
        self._second = list(vocabulary)
        self._third = list(vocabulary)
        for order in (self._first, self._second, self._third):
            random.shuffle(order)
        self._head = min(HEAD_WORDS, words)
        rest = words - self._head
        text = random.choices(vocabulary, k=2 * rest)
        self._filler = " ".join(text).encode()
        self._ends = [0, *accumulate(len(word) + 1 for word in text)]
        self._rest = rest
        self.words = words
        whole = orjson.dumps(shape.payload([{"role": "user", "content": _MARK}]))
        self._before, self._after = whole.split(_MARK.encode())

    def text(self, index: int) -> bytes:
        """Return the prompt with this number."""
        size = len(self._first)
        turn, place = divmod(index, size)
        head = (
            self._first[place],
            self._second[(turn + place) % size],
            self._third[(turn // size + place) % size],
        )[: self._head]
        start = " ".join(head).encode()
        if not self._rest:
            return start
        offset = index * 7919 % (self._rest + 1)  # a prime: neighbours do not overlap for long
        low, high = self._ends[offset], self._ends[offset + self._rest] - 1
        return start + b" " + self._filler[low:high]

    def __call__(self, index: int) -> bytes:
        """Return the body of the request with this number."""
        return self._before + self.text(index) + self._after


class FilePrompts:
    """Real prompts of a file, in an order of their own in every cell; they repeat when used up."""

    def __init__(
        self, messages: list[list[dict[str, Any]]], seed: str, shape: RequestShape
    ) -> None:
        self._messages = list(messages)
        self._shape = shape
        Random(f"order {seed}").shuffle(self._messages)  # noqa: S311 - not for secrets

    def __len__(self) -> int:
        return len(self._messages)

    def __call__(self, index: int) -> bytes:
        """Return the body of the request with this number."""
        return orjson.dumps(self._shape.payload(self._messages[index % len(self._messages)]))


def read_prompts(path: str | Path) -> tuple[list[list[dict[str, Any]]], str]:
    """Return the prompts of a file as messages, and the file's SHA-256.

    Each line is JSON with ``messages`` or ``prompt``, or, in a file that is no JSON at all, a
    prompt in plain text. Raises UsageError, naming the line.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE:
            raise UsageError(f"{file} is larger than {MAX_FILE // 2**20} MiB.", fix="Take fewer.")
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}.") from error
    lines = [(n, line.strip()) for n, line in enumerate(data.splitlines(), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{file} has no prompts.")
    json_lines = lines[0][1].startswith(b"{")
    found = [_messages(line, f"{file}:{n}", json_lines=json_lines) for n, line in lines]
    return found, hashlib.sha256(data).hexdigest()


def _messages(line: bytes, where: str, *, json_lines: bool) -> list[dict[str, Any]]:
    if not json_lines:
        try:
            return [{"role": "user", "content": line.decode()}]
        except UnicodeDecodeError as error:
            raise UsageError(f"{where} is not UTF-8.") from error
    try:
        told = orjson.loads(line)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}.") from error
    if isinstance(told, dict):
        if isinstance(told.get("prompt"), str) and told["prompt"]:
            return [{"role": "user", "content": told["prompt"]}]
        messages = told.get("messages")
        if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
            return messages
    raise UsageError(f"{where} has neither a prompt nor messages.")
