"""One request and its answer: the event stream of a chat completion, read as it comes.

Most chunks of a stream differ in nothing but their text. The first one is parsed as JSON; from it
the bytes before and after the text are learned, and a later event that has both, with no quote
and no trailing backslash between them, is known to be such a chunk without parsing it. Anything
else is parsed in full, so the short cut can't change what is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from tools.load.records import Outcome

MAX_EVENT = 8 * 1024 * 1024  # bytes of one event
MAX_BODY = 4096  # bytes that are kept of an answer that is no stream
_STRING = re.compile(rb'(?:[^"\\]|\\.)*')
_FIELDS = ("reasoning", "reasoning_content", "content")
# vLLM's name of the field is "reasoning" (0.32), before that "reasoning_content" (0.8 to 0.11).
_KEYS = {name: re.compile(rb'"%s": ?"' % name.encode()) for name in _FIELDS}

Listener = Callable[[str, str], None]  # (kind: "reasoning" | "content" | "tool", text)


class Exchange:
    """A request from its schedule to its end; times in nanoseconds of the monotonic clock."""

    __slots__ = (
        "_body",
        "_head",
        "_listener",
        "_rest",
        "_tail",
        "completion_tokens",
        "counted",
        "detail",
        "done",
        "ended",
        "finish",
        "first_byte",
        "first_content",
        "first_reasoning",
        "index",
        "last_byte",
        "outcome",
        "prompt_tokens",
        "reasoning_tokens",
        "scheduled",
        "sent",
        "status",
        "times",
        "usage",
    )

    def __init__(self, index: int, scheduled: int, listener: Listener | None = None) -> None:
        self.index = index
        self.scheduled = scheduled
        self.counted = False  # inside the window that is measured
        self.sent = self.first_byte = self.last_byte = 0
        self.first_reasoning = self.first_content = self.done = 0
        self.prompt_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self.status = 0
        self.finish = ""
        self.usage = False
        self.ended = False  # [DONE] was read
        self.outcome = Outcome.OK
        self.detail = ""
        self.times: list[int] = []
        self._rest = b""
        self._head = b""
        self._tail = b""
        self._listener = listener
        self._body = b""

    def feed(self, data: bytes, now: int) -> None:
        """Take body bytes of a stream that arrived at ``now``."""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            # JSON has no raw carriage return: all of them are line ends. One at the very end may
            # be half of one.
            held = data[-1:] == b"\r"
            data = data[:-1] if held else data
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (b"\r" if held else b"")
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = data
        else:
            self._rest = data[end:]
            self._events(data[:end], now)
        if len(self._rest) > MAX_EVENT:
            self.fail(Outcome.GARBAGE, f"an event of more than {MAX_EVENT} bytes")

    def _events(self, data: bytes, now: int) -> None:
        place, length = 0, len(data)
        while place < length:
            head, tail = self._head, self._tail
            if head and data.startswith(head, place):
                # Between the texts of a run of such chunks stands nothing but this.
                texts = data[place + len(head) :].split(tail + b"\n\n" + head)
                close = texts[-1].find(tail + b"\n\n")
                if close >= 0:
                    texts[-1] = texts[-1][:close]
                else:
                    texts.pop()
                if texts:
                    whole = b"".join(texts)
                    self._run(texts, whole, now)
                    place += len(whole) + len(texts) * (len(head) + len(tail) + 2)
                    continue
            stop = data.index(b"\n\n", place)
            self._event(data[place:stop], now)
            place = stop + 2

    def _run(self, texts: list[bytes], whole: bytes, now: int) -> None:
        times = self.times
        if b'"' not in whole and b"\\" not in whole and b"\n" not in whole and b"" not in texts:
            times.extend([now] * len(texts))
            return
        head, tail = self._head, self._tail
        for text in texts:
            if text and b'"' not in text and b"\n" not in text and text[-1] != 92:
                times.append(now)
            else:
                for event in (head + text + tail).split(b"\n\n"):
                    self._event(event, now)

    @property
    def last_token(self) -> int:
        """Return when the last chunk with text arrived."""
        return self.times[-1] if self.times else 0

    def feed_error(self, data: bytes) -> None:
        """Take body bytes of an answer whose status is not 200."""
        self._body = (self._body + data)[:MAX_BODY]

    def fail(self, outcome: Outcome, detail: str) -> None:
        """Note the first thing that went wrong."""
        if self.outcome is Outcome.OK:
            self.outcome = outcome
            self.detail = detail

    def finish_at(self, now: int, *, whole: bool, lost: Outcome = Outcome.CUT) -> None:
        """Settle the outcome; ``whole`` tells that the HTTP message ended as it should.

        ``lost`` is what a message that did not end counts as.
        """
        self.done = now
        if self.outcome is not Outcome.OK:
            return
        if self.status and self.status != 200:
            known = {429: Outcome.RATE_LIMITED, 503: Outcome.UNAVAILABLE}
            self.fail(known.get(self.status, Outcome.HTTP_ERROR), self._error_text())
        elif not self.ended and not whole:
            self.fail(lost, f"after {len(self.times)} chunks")
        elif not self.ended and self._rest.strip():
            self.fail(Outcome.GARBAGE, _excerpt(self._rest))
        else:
            missing = [
                name
                for name, there in (
                    ("[DONE]", self.ended),
                    ("finish reason", bool(self.finish)),
                    ("usage", self.usage),
                )
                if not there
            ]
            if missing:
                self.fail(Outcome.INCOMPLETE, f"without {', '.join(missing)}")

    def _error_text(self) -> str:
        try:
            told = orjson.loads(self._body)
        except ValueError:
            return f"HTTP {self.status} {_excerpt(self._body)}".rstrip()
        return f"HTTP {self.status} {_message(told)}".rstrip()

    def _event(self, event: bytes, now: int) -> None:
        if event.startswith(b"data: ") and b"\n" not in event:
            payload = event[6:]
        else:
            lines = [line for line in event.split(b"\n") if line]
            data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
            if not data:
                known = (b":", b"event:", b"id:", b"retry:")
                if any(not line.startswith(known) for line in lines):
                    self.fail(Outcome.GARBAGE, _excerpt(event))
                return
            payload = b"\n".join(data)
        if payload == b"[DONE]":
            self.ended = True
            return
        try:
            told = orjson.loads(payload)
        except ValueError:
            self.fail(Outcome.GARBAGE, _excerpt(payload))
            return
        if not isinstance(told, dict):
            self.fail(Outcome.GARBAGE, _excerpt(payload))
        elif told.get("error") or told.get("object") == "error":
            self.fail(Outcome.ERROR_IN_STREAM, _message(told))
        else:
            self._chunk(told, event, now)

    def _chunk(self, told: dict[str, Any], event: bytes, now: int) -> None:
        usage = told.get("usage")
        if isinstance(usage, dict):
            self._usage(usage)
        choices = told.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        finish = choices[0].get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish = finish
        delta = choices[0].get("delta")
        if not isinstance(delta, dict):
            return
        carried = [name for name in _FIELDS if isinstance(delta.get(name), str) and delta[name]]
        calls = delta.get("tool_calls")
        if not carried and not calls:
            return
        self.times.append(now)
        if (calls or "content" in carried) and not self.first_content:
            self.first_content = now
        if carried and carried[0] != "content" and not self.first_reasoning:
            self.first_reasoning = now
        if self._listener is not None:
            for name in carried:
                kind = "content" if name == "content" else "reasoning"
                self._listener(kind, delta[name])
            if calls:
                self._listener("tool", orjson.dumps(calls).decode())
        elif len(carried) == 1 and not calls and not finish and not usage:
            self._learn(carried[0], delta[carried[0]], event)

    def _learn(self, name: str, text: str, event: bytes) -> None:
        found = _KEYS[name].search(event)
        if not found:
            return
        end = _STRING.match(event, found.end())
        try:
            same = end is not None and orjson.loads(b'"' + end[0] + b'"') == text
        except ValueError:
            return
        if end is not None and same and b"\n" not in event:
            self._head, self._tail = event[: found.end()], event[end.end() :]

    def _usage(self, usage: dict[str, Any]) -> None:
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not _is_count(prompt) or not _is_count(completion):
            return
        self.usage = True
        self.prompt_tokens, self.completion_tokens = prompt, completion
        details = usage.get("completion_tokens_details")
        if isinstance(details, dict) and _is_count(details.get("reasoning_tokens")):
            self.reasoning_tokens = details["reasoning_tokens"]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _message(told: object) -> str:
    error = told.get("error", told) if isinstance(told, dict) else told
    words = error.get("message", error) if isinstance(error, dict) else error
    text = words if isinstance(words, str) else orjson.dumps(words).decode()
    return " ".join(text.split())[:200]


def _excerpt(data: bytes) -> str:
    return " ".join(data[:200].decode("utf-8", "replace").split())
