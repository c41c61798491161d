"""What happened to each request, in columns: compact, and cheap to move between processes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from tools.load.stream import Exchange

NS = 1_000_000_000  # nanoseconds of a second
MICROSECOND = 1_000  # nanoseconds
MAX_DETAILS = 200  # texts of failures that are kept; all are counted
MAX_DETAIL = 200  # characters
_MAX_OFFSET = 2**32 - 1  # microseconds, 71 minutes


class Outcome(IntEnum):
    """How a request ended; only OK is a success.

    OK needs status 200, a finish reason, usage, and the ``[DONE]`` that ends the stream.
    """

    OK = 0
    ERROR_IN_STREAM = 1  # an error object inside a stream that began with 200
    CUT = 2  # the connection closed before the stream ended
    STALLED = 3  # bytes came, then none for longer than the limit
    TIMEOUT = 4  # no first byte, or no end, within the limit
    RESET = 5  # the connection was reset, or closed without one byte of an answer
    REFUSED = 6  # no connection: refused, unreachable, name or certificate wrong
    RATE_LIMITED = 7  # HTTP 429
    UNAVAILABLE = 8  # HTTP 503
    HTTP_ERROR = 9  # any other status but 200
    GARBAGE = 10  # what came is neither HTTP, nor an event stream, nor JSON
    INCOMPLETE = 11  # the stream ended whole, but without finish reason, usage or [DONE]
    STOPPED = 12  # we stopped it: neither a success nor a failure

    @property
    def label(self) -> str:
        """Return the name in words."""
        return self.name.lower().replace("_", " ")


_TIMES = ("scheduled", "sent", "first_byte", "first_reasoning", "first_content", "last_token")
LONG_COLUMNS = (*_TIMES, "done")
INT_COLUMNS = ("index", "prompt_tokens", "completion_tokens", "reasoning_tokens", "chunk_count")
SHORT_COLUMNS = ("status",)
BYTE_COLUMNS = ("outcome", "finish")
_TYPES = {
    **dict.fromkeys(LONG_COLUMNS, "q"),
    **dict.fromkeys(INT_COLUMNS, "I"),
    **dict.fromkeys(SHORT_COLUMNS, "H"),
    **dict.fromkeys(BYTE_COLUMNS, "B"),
    "chunks": "I",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are of the monotonic clock in nanoseconds, 0 where nothing came.

    ``chunks`` are the arrivals of chunks that carried text, in nanoseconds.
    """

    index: int
    scheduled: int
    sent: int
    first_byte: int
    first_reasoning: int
    first_content: int
    last_token: int
    done: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    status: int
    outcome: Outcome
    finish: str
    chunks: tuple[int, ...]


class Records:
    """Columns of requests; 83 bytes a request and 4 bytes a chunk (arrivals kept to 1 µs)."""

    __slots__ = (*_TYPES, "details", "finishes")

    def __init__(self) -> None:
        for name, code in _TYPES.items():
            setattr(self, name, array(code))
        self.finishes: list[str] = [""]
        self.details: list[tuple[int, str]] = []  # (outcome, what was said)

    scheduled: array[int]
    sent: array[int]
    first_byte: array[int]
    first_reasoning: array[int]
    first_content: array[int]
    last_token: array[int]
    done: array[int]
    index: array[int]
    prompt_tokens: array[int]
    completion_tokens: array[int]
    reasoning_tokens: array[int]
    chunk_count: array[int]
    status: array[int]
    outcome: array[int]
    finish: array[int]
    chunks: array[int]

    def __len__(self) -> int:
        return len(self.sent)

    def append(self, one: Exchange) -> None:
        """Add a request that has ended."""
        self.scheduled.append(one.scheduled)
        self.sent.append(one.sent)
        self.first_byte.append(one.first_byte)
        self.first_reasoning.append(one.first_reasoning)
        self.first_content.append(one.first_content)
        self.last_token.append(one.last_token)
        self.done.append(one.done)
        self.index.append(one.index)
        self.prompt_tokens.append(one.prompt_tokens)
        self.completion_tokens.append(one.completion_tokens)
        self.reasoning_tokens.append(one.reasoning_tokens)
        self.status.append(one.status)
        self.outcome.append(one.outcome)
        times = one.times
        self.chunk_count.append(len(times))
        sent = one.sent
        if times:
            if times[0] == times[-1]:  # all in one read
                offset = min((times[0] - sent) // MICROSECOND, _MAX_OFFSET)
                self.chunks.extend([offset] * len(times))
            else:
                self.chunks.extend(
                    [min((time - sent) // MICROSECOND, _MAX_OFFSET) for time in times]
                )
        self.finish.append(self._finish(one.finish))
        if one.detail and len(self.details) < MAX_DETAILS:
            self.details.append((int(one.outcome), one.detail[:MAX_DETAIL]))

    def _finish(self, reason: str) -> int:
        try:
            return self.finishes.index(reason)
        except ValueError:
            if len(self.finishes) >= 64:  # a server that invents reasons
                return 0
            self.finishes.append(reason)
            return len(self.finishes) - 1

    def extend(self, other: Records) -> None:
        """Add the requests of another client."""
        for name in _TYPES:
            if name != "finish":
                getattr(self, name).extend(getattr(other, name))
        places = [self._finish(reason) for reason in other.finishes]
        self.finish.extend(places[code] for code in other.finish)
        self.details.extend(other.details[: MAX_DETAILS - len(self.details)])

    def __iter__(self) -> Iterator[Record]:
        start = 0
        for row in range(len(self)):
            end = start + self.chunk_count[row]
            sent = self.sent[row]
            yield Record(
                **{name: getattr(self, name)[row] for name in (*LONG_COLUMNS, *INT_COLUMNS[:-1])},
                status=self.status[row],
                outcome=Outcome(self.outcome[row]),
                finish=self.finishes[self.finish[row]],
                chunks=tuple(sent + offset * MICROSECOND for offset in self.chunks[start:end]),
            )
            start = end

    def pack(self) -> bytes:
        """Return the columns as bytes, for a process on this machine."""
        head = {
            "lengths": [len(getattr(self, name)) for name in _TYPES],
            "finishes": self.finishes,
            "details": self.details,
        }
        text = orjson.dumps(head)
        columns = (getattr(self, name).tobytes() for name in _TYPES)
        return b"".join([len(text).to_bytes(4, "big"), text, *columns])

    @classmethod
    def unpack(cls, data: bytes) -> Records:
        """Return what ``pack`` packed; raises ValueError for anything else."""
        size = int.from_bytes(data[:4], "big")
        head = orjson.loads(data[4 : 4 + size])
        found, start = cls(), 4 + size
        for (name, code), length in zip(_TYPES.items(), head["lengths"], strict=True):
            column = array(code)
            end = start + length * column.itemsize
            column.frombytes(data[start:end])
            setattr(found, name, column)
            start = end
        if start != len(data):
            raise ValueError("the columns are longer or shorter than their head says")
        found.finishes = head["finishes"]
        found.details = [(code, text) for code, text in head["details"]]
        return found
