"""One event of a chat completion's stream: what it carries, and the shapes that repeat.

Events of one server differ in little. Those without text (the role, the finish, the usage) repeat
from stream to stream but for the id; those with text repeat but for it. So what was parsed once
is remembered by the bytes behind the id, and an event with known bytes on both sides of a text
without quotes is known too. Both are exact: equal bytes have an equal meaning, and what is not
known is parsed in full.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from tools.load.records import Outcome

MAX_REMEMBERED = 4096  # events
MAX_SHAPES = 16
# What may differ between two events of the same meaning: the order is that of vLLM 0.32.
PREFIX = re.compile(
    rb'data: \{"id":"[^"\\\n]*","object":"chat\.completion\.chunk","created":\d+,'
    rb'"model":"[^"\\\n]*",(?="choices":)'
)
_STRING = re.compile(rb'(?:[^"\\]|\\.)*')
_FIELDS = ("reasoning", "reasoning_content", "content")
# vLLM's name of the field is "reasoning" (0.32), before that "reasoning_content" (0.8 to 0.11).
_KEYS = {name: re.compile(rb'"%s": ?"' % name.encode()) for name in _FIELDS}


class ChatEvent(NamedTuple):
    """What one event carries; ``usage`` is (prompt, completion, reasoning) tokens."""

    content: str = ""
    reasoning: str = ""
    calls: str = ""  # JSON of tool calls
    finish: str = ""
    usage: tuple[int, int, int] | None = None
    outcome: Outcome = Outcome.OK
    detail: str = ""
    ended: bool = False
    field: str = ""  # the one field that carried text, if it was one alone


class Shape(NamedTuple):
    """The bytes around the text of an event, behind the prefix, and what else it says."""

    head: bytes
    tail: bytes
    is_content: bool
    finish: str


NOTHING = ChatEvent()
_remembered: dict[bytes, ChatEvent] = {}
_shapes: dict[tuple[str, str], Shape] = {}  # by field and finish reason


def recall(rest: bytes) -> ChatEvent | None:
    """Return the event with these bytes behind its prefix, if it was seen before."""
    return _remembered.get(rest)


def find_shape(rest: bytes) -> Shape | None:
    """Return the shape that an event has, if it is a known one with a text of one or more bytes."""
    for shape in _shapes.values():
        if rest.startswith(shape.head) and rest.endswith(shape.tail):
            text = rest[len(shape.head) : -len(shape.tail)]
            if is_text(text):
                return shape
    return None


def is_text(text: bytes) -> bool:
    """Tell whether bytes between two quotes are one JSON string, and not the end of another."""
    return bool(text) and b'"' not in text and b"\n" not in text and text[-1] != 92


def remember(rest: bytes, event: ChatEvent) -> None:
    """Keep an event without text, or the shape of one with nothing but text, for later streams."""
    plain = not event.calls and event.outcome is Outcome.OK and b"\n" not in rest
    if not plain:
        return
    if event.field and event.usage is None:
        shape = shape_of(rest, event)
        key = (event.field, event.finish)
        if shape is not None and (key in _shapes or len(_shapes) < MAX_SHAPES):
            _shapes[key] = shape
    elif not event.content and not event.reasoning:
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[rest] = event


def shape_of(event: bytes, parsed: ChatEvent) -> Shape | None:
    """Return the bytes around the text of an event."""
    if b"\n" in event:
        return None
    text = parsed.content or parsed.reasoning
    found = _KEYS[parsed.field].search(event)
    end = _STRING.match(event, found.end()) if found else None
    if found is None or end is None:
        return None
    try:
        same = orjson.loads(b'"' + end[0] + b'"') == text
    except ValueError:
        return None
    if not same:
        return None
    head, tail = event[: found.end()], event[end.end() :]
    return Shape(head, tail, parsed.field == "content", parsed.finish)


def parse_event(event: bytes) -> ChatEvent:
    """Return what an event carries; one that is no JSON is an outcome of its own."""
    if event.startswith(b"data: ") and b"\n" not in event:
        payload = event[6:]
    else:
        lines = [line for line in event.split(b"\n") if line]
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if not data:
            known = (b":", b"event:", b"id:", b"retry:")
            if any(not line.startswith(known) for line in lines):
                return ChatEvent(outcome=Outcome.GARBAGE, detail=excerpt(event))
            return NOTHING
        payload = b"\n".join(data)
    if payload == b"[DONE]":
        return ChatEvent(ended=True)
    try:
        told = orjson.loads(payload)
    except ValueError:
        return ChatEvent(outcome=Outcome.GARBAGE, detail=excerpt(payload))
    if not isinstance(told, dict):
        return ChatEvent(outcome=Outcome.GARBAGE, detail=excerpt(payload))
    if told.get("error") or told.get("object") == "error":
        return ChatEvent(outcome=Outcome.ERROR_IN_STREAM, detail=message_of(told))
    return _parse_chunk(told)


def _parse_chunk(told: dict[str, Any]) -> ChatEvent:
    usage = _usage(told.get("usage"))
    choices = told.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return ChatEvent(usage=usage)
    finish = choices[0].get("finish_reason")
    finish = finish if isinstance(finish, str) else ""
    delta = choices[0].get("delta")
    if not isinstance(delta, dict):
        return ChatEvent(finish=finish, usage=usage)
    texts = {name: delta[name] for name in _FIELDS if isinstance(delta.get(name), str)}
    carried = [name for name, text in texts.items() if text]
    calls = delta.get("tool_calls")
    return ChatEvent(
        content=texts.get("content", ""),
        reasoning=texts.get("reasoning") or texts.get("reasoning_content") or "",
        calls=orjson.dumps(calls).decode() if calls else "",
        finish=finish,
        usage=usage,
        field=carried[0] if len(carried) == 1 else "",
    )


def _usage(told: object) -> tuple[int, int, int] | None:
    if not isinstance(told, dict):
        return None
    prompt, completion = _count(told, "prompt_tokens"), _count(told, "completion_tokens")
    if prompt is None or completion is None:
        return None
    details = told.get("completion_tokens_details")
    reasoning = _count(details, "reasoning_tokens") if isinstance(details, dict) else None
    return prompt, completion, reasoning or 0


def _count(told: dict[str, Any], name: str) -> int | None:
    value = told.get(name)
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
    return value if whole else None


def message_of(told: object) -> str:
    """Return the message of an error object, on one line."""
    error = told.get("error", told) if isinstance(told, dict) else told
    words = error.get("message", error) if isinstance(error, dict) else error
    text = words if isinstance(words, str) else orjson.dumps(words).decode()
    return " ".join(text.split())[:200]


def excerpt(data: bytes) -> str:
    """Return the start of foreign bytes, on one line."""
    return " ".join(data[:200].decode("utf-8", "replace").split())
