"""One request and its answer: the event stream of a chat completion, read as it comes."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from tools.load.chat_events import (
    PREFIX,
    ChatEvent,
    excerpt,
    find_shape,
    is_text,
    message_of,
    parse_event,
    recall,
    remember,
    shape_of,
)
from tools.load.records import Outcome

MAX_EVENT = 8 * 1024 * 1024  # bytes of one event
MAX_BODY = 4096  # bytes that are kept of an answer that is no stream

Listener = Callable[[str, str], None]  # (kind: "reasoning" | "content" | "tool", text)


class Exchange:
    """A request from its schedule to its end; times in nanoseconds of the monotonic clock."""

    __slots__ = (
        "_body",
        "_head",
        "_is_content",
        "_listener",
        "_prefix",
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
        self._prefix = b""
        self._is_content = True
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
                end = tail + b"\n\n"
                texts = data[place + len(head) :].split(end + head)
                last = texts.pop()
                close = last.find(end)
                if close >= 0:
                    texts.append(last[:close])
                if texts:
                    whole = b"".join(texts)
                    self._run(texts, whole, now)
                    place += len(whole) + len(texts) * (len(head) + len(end))
                if close >= 0:
                    continue
            # An event of another shape, or one that begins as the others do and ends otherwise.
            stop = data.index(b"\n\n", place)
            self._event(data[place:stop], now)
            place = stop + 2

    def _run(self, texts: list[bytes], whole: bytes, now: int) -> None:
        if b'"' not in whole and b"\\" not in whole and b"\n" not in whole and b"" not in texts:
            self.times.extend([now] * len(texts))
            self._mark(self._is_content, now)
            return
        head, tail = self._head, self._tail
        for text in texts:
            if is_text(text):
                self.times.append(now)
                self._mark(self._is_content, now)
            else:
                for event in (head + text + tail).split(b"\n\n"):
                    self._event(event, now)

    def _event(self, event: bytes, now: int) -> None:
        """Take one event: as one that is known by its bytes, or parsed in full."""
        if self._listener is not None:
            self._apply(parse_event(event), now)
            return
        prefix = self._prefix
        if not prefix:
            found = PREFIX.match(event)
            prefix = self._prefix = found[0] if found else b""
        if not prefix or not event.startswith(prefix):
            parsed = parse_event(event)
            if parsed.field and not prefix:  # a server of another order: its shape holds here only
                self._take_shape(event, parsed)
            self._apply(parsed, now)
            return
        rest = event[len(prefix) :]
        parsed_before = recall(rest)
        if parsed_before is not None:
            self._apply(parsed_before, now)
            return
        shape = find_shape(rest)
        if shape is not None:
            head, tail, is_content, finish = shape
            if finish:
                self.finish = finish
            else:
                self._head, self._tail, self._is_content = prefix + head, tail, is_content
            self.times.append(now)
            self._mark(is_content, now)
            return
        parsed = parse_event(event)
        remember(rest, parsed)
        self._apply(parsed, now)

    def _take_shape(self, event: bytes, parsed: ChatEvent) -> None:
        if parsed.finish or parsed.usage or parsed.calls:
            return
        shape = shape_of(event, parsed)
        if shape is not None:
            self._head, self._tail, self._is_content, _ = shape

    def _mark(self, is_content: bool, now: int) -> None:
        if is_content:
            if not self.first_content:
                self.first_content = now
        elif not self.first_reasoning:
            self.first_reasoning = now

    def _apply(self, event: ChatEvent, now: int) -> None:
        content, reasoning, calls, finish, usage, outcome, detail, ended, _ = event
        if ended:
            self.ended = True
        if outcome is not Outcome.OK:
            self.fail(outcome, detail)
        if finish:
            self.finish = finish
        if usage is not None:
            self.usage = True
            self.prompt_tokens, self.completion_tokens, self.reasoning_tokens = usage
        if not (content or reasoning or calls):
            return
        self.times.append(now)
        if reasoning:
            self._mark(False, now)
        if content or calls:
            self._mark(True, now)
        if self._listener is not None:
            for kind, text in (("reasoning", reasoning), ("content", content), ("tool", calls)):
                if text:
                    self._listener(kind, text)

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
            self.fail(Outcome.GARBAGE, excerpt(self._rest))
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
            return f"HTTP {self.status} {excerpt(self._body)}".rstrip()
        return f"HTTP {self.status} {message_of(told)}".rstrip()
