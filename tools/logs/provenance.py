"""Which lines a caller wrote, although a process printed them.

On Cloud Run each printed line is an entry of its own. A prompt that is printed raw can therefore
forge entries: a line of the engine, a whole traceback, even the words that end a prompt
(``', params: SamplingParams(``). What a caller can't forge is the clock of the platform, and that
one ``write`` arrives within milliseconds. So, for each (instance, stream):

* A line whose prompt is still open (``⟨prompt…⟩``) makes every later entry the caller's, until an
  end of a prompt was seen **and** the platform's timestamp is more than 2 s after the opener's;
  after 60 s in any case, since no write takes that long.
* A prompt that closed in its own line may have forged that end. An end that belongs to no opener,
  within 2 s, gives it away: what lies between is the caller's. So does another prompt within
  50 ms, for the entries between that a diagnosis could rest on.
* Plain text has no platform timestamps. There the furthest end of a prompt within 2,000 lines
  counts (200 behind a prompt that closed), and 200 lines if there is none.

vLLM itself prints prompts with ``%r``, on one line, so a genuine log loses nothing by this. Two
prompts of one plain-text file with forged lines between them can't be told from two requests
with genuine lines between them; plain text also has no proof of an exit, so nothing in it alone
is decisive.

Private keys that a program prints over several lines are cut here too.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tools.domain import LogRecord, Origin, Severity
from tools.logs.caller_text import CLOSE, CLOSES, INNER, OPEN
from tools.logs.prefix import split_prefix
from tools.logs.redaction import PRIVATE_KEY

ONE_WRITE = 2.0  # seconds
LONGEST_WRITE = 60.0  # seconds
SANDWICH = 0.05  # seconds
OPEN_LINES = 2_000
UNENDED_LINES = 200
CLOSED_LINES = 200
_HELD = 5_000  # records of one stream; a prompt with more lines than that is the caller's
_STREAMS = 4_096

_BRACKETS = re.compile(r"""[\s"'}\],]*[}\]]\s*$""")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{1,80}$")
_KEY_LINES = 200


@dataclass(slots=True)
class _Held:
    record: LogRecord
    deadline: float  # an end seen until then makes the record the caller's
    caller_unless_ended: bool = False
    decided: bool = False


@dataclass(slots=True)
class _Stream:
    """What is known of one (instance, stream); its clock counts seconds, or lines without times."""

    timed: bool
    lines: int = 0
    clock: float = 0.0
    deadline: float = -1.0  # until then, an end would claim what came before it
    open_since: float | None = None
    ended: bool = False
    prompt_at: float = -1.0
    held: deque[_Held] = field(default_factory=deque)
    key_lines: int = 0


class CanonicalStream:
    """Attribute records to the caller whose prompt they are part of.

    ``add`` returns the records that are decided, in order within each (instance, stream); at most
    5,000 a stream are held back. Applying it twice changes nothing.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[str, str], _Stream] = OrderedDict()

    def add(self, record: LogRecord) -> Iterable[LogRecord]:
        """Take the next record; return those whose origin is decided."""
        if record.origin is Origin.PLATFORM or record.origin is Origin.CONTROL_PLANE:
            return (record,)
        key = (record.instance, record.stream)
        state = self._streams.get(key)
        if state is None:
            if "⟨" not in record.text:
                return (record,)
            state = self._streams[key] = _Stream(timed=record.time is not None)
            if len(self._streams) > _STREAMS:
                _, oldest = self._streams.popitem(last=False)
                return (*_drain(oldest), *_decide(state, record))
        elif state.deadline < 0 and not state.key_lines and "⟨" not in record.text:
            return (record,)
        return _decide(state, record)

    def flush(self) -> Iterable[LogRecord]:
        """Return what was held back, the log having ended."""
        for state in self._streams.values():
            yield from _drain(state)
        self._streams.clear()


def attributed(records: Iterable[LogRecord]) -> Iterable[LogRecord]:
    """Yield the records, those inside a caller's prompt attributed to the caller."""
    stream = CanonicalStream()
    for record in records:
        yield from stream.add(record)
    yield from stream.flush()


def _decide(state: _Stream, record: LogRecord) -> Iterable[LogRecord]:
    record = _without_key(state, record)
    state.lines += 1
    if state.timed and record.time is not None:
        state.clock = max(state.clock, record.time.timestamp())  # clocks may step back
    elif not state.timed:
        state.clock = float(state.lines)
    text = record.text
    by_caller = record.origin is Origin.CALLER
    opens = OPEN in text and not by_caller
    prompts = opens or (INNER in text and not by_caller)
    closes = CLOSE in text if by_caller else not prompts and _may_end(text, state)
    released: list[LogRecord] = []
    _release(state, released)
    guarded = state.clock <= state.deadline
    if not guarded:
        state.deadline = -1.0
    if closes and guarded:
        _claim(state)
        state.ended = True
        _hold(state, _as_caller(record, ends=True), decided=True)
    elif state.timed and _inside_open(state):
        _hold(state, _as_caller(record), decided=True)
    else:
        if prompts and state.timed and state.clock - state.prompt_at <= SANDWICH:
            _claim_between_prompts(state)
        _hold(state, record, decided=not guarded)
        if prompts:
            _begin(state, opens=opens)
    _release(state, released)
    return released


def _begin(state: _Stream, *, opens: bool) -> None:
    state.prompt_at = state.clock
    if opens:
        state.open_since, state.ended = state.clock, False
        window = LONGEST_WRITE if state.timed else float(OPEN_LINES)
    else:
        window = ONE_WRITE if state.timed else float(CLOSED_LINES)
    state.deadline = max(state.deadline, state.clock + window)


def _inside_open(state: _Stream) -> bool:
    if state.open_since is None:
        return False
    age = state.clock - state.open_since
    inside = age <= ONE_WRITE or (not state.ended and age <= LONGEST_WRITE)
    if not inside:
        state.open_since, state.deadline = None, -1.0
    return inside


def _may_end(text: str, state: _Stream) -> bool:
    if CLOSES.search(text) is not None:
        return True
    return state.open_since is not None and _BRACKETS.match(text) is not None


def _hold(state: _Stream, record: LogRecord, *, decided: bool) -> None:
    unended = (
        not state.timed
        and state.open_since is not None
        and not state.ended
        and state.clock - state.open_since <= UNENDED_LINES
    )
    state.held.append(_Held(record, state.deadline, unended, decided))
    if len(state.held) > _HELD:
        _claim(state)


def _claim(state: _Stream) -> None:
    for held in state.held:
        if not held.decided and held.deadline >= state.clock:
            held.record, held.decided = _as_caller(held.record), True


def _claim_between_prompts(state: _Stream) -> None:
    for held in reversed(state.held):
        time = held.record.time
        if time is None or time.timestamp() < state.prompt_at or INNER in held.record.text:
            break
        if not held.decided and (
            held.record.severity >= Severity.WARNING or held.record.severity is Severity.DEFAULT
        ):
            held.record, held.decided = _as_caller(held.record), True


def _release(state: _Stream, out: list[LogRecord]) -> None:
    while state.held:
        held = state.held[0]
        if not held.decided:
            if held.deadline >= state.clock:
                return
            if held.caller_unless_ended:
                held.record = _as_caller(held.record)
        out.append(state.held.popleft().record)


def _drain(state: _Stream) -> Iterable[LogRecord]:
    for held in state.held:
        keep = held.decided or not held.caller_unless_ended
        yield held.record if keep else _as_caller(held.record)


def _as_caller(record: LogRecord, *, ends: bool = False) -> LogRecord:
    return replace(
        record,
        text=CLOSE if ends or CLOSE in record.text else INNER,
        origin=Origin.CALLER,
        severity=Severity.DEFAULT,
        severity_inferred=False,
    )


def _without_key(state: _Stream, record: LogRecord) -> LogRecord:
    """Return the record without its line of a private key that began in an earlier one."""
    text = record.text
    if text.endswith(PRIVATE_KEY):
        state.key_lines = _KEY_LINES
        return record
    if not state.key_lines:
        return record
    start = split_prefix(text).length
    line = text[start:].strip()
    first = state.key_lines == _KEY_LINES
    if not _KEY_LINE.match(line) or (first and len(line) < 40):
        state.key_lines = 0
        return record
    state.key_lines -= 1
    return replace(record, text=text[:start] + PRIVATE_KEY) if line else record
