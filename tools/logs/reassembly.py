"""Whole tracebacks from interleaved lines.

Lines are told apart by (instance, stream, process and pid), their prefixes are taken off, and a
state machine for each puts the traceback together (``trace.py``). The same traceback printed by
another stream or another worker of the instance is counted, not repeated. Memory is bounded: so
many open tracebacks, so many lines each, so many finished ones that wait for their copies.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tools.domain import Block, LogRecord, Origin, Severity
from tools.logs.prefix import LEVELS, Prefix, split_prefix
from tools.logs.request_errors import without_caller_words
from tools.logs.trace import Trace, Verdict

MAX_OPEN = 4_096  # tracebacks being printed at once
MAX_WAITING = 64  # finished tracebacks that wait for copies
COPY_SECONDS = 10.0
COPY_LINES = 5_000
_SWEEP = 64

_START = re.compile(
    r'(?P<python>Traceback \(most recent call last\):|  File "|\s*\+ Exception Group Traceback'
    r"|(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception)(?:: |$))"
    r"|(?P<go>panic: |fatal error: )"
    r"|(?P<native>terminate called |Fatal Python error: |\*\*\* SIG)"
    r"|(?P<usage>usage: )"
)
_ARGPARSE = re.compile(r"[\w./ -]{1,60}: error: ")
_PROGRESS = re.compile(r"\d%\||\d% Completed|it/s\]|s/it\]")
_LABEL = re.compile(r"[^\d%|]*")
_DIGITS = re.compile(r"0x[0-9a-f]+|\d+")

_Key = tuple[str, str, str]


class Reassembler:
    """Put records together into blocks; every record ends up in one block.

    Blocks come out when they are whole: lines at once, tracebacks when they ended and no copy
    can follow, at the latest with ``flush``.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[_Key, Trace] = OrderedDict()
        self._waiting: OrderedDict[tuple[object, ...], Block] = OrderedDict()
        self._waiting_since: dict[tuple[object, ...], tuple[float | None, int]] = {}
        self._progress: OrderedDict[_Key, tuple[str, LogRecord, str, Prefix]] = OrderedDict()
        self._position = 0
        self._next_sweep = _SWEEP

    def add(self, record: LogRecord) -> Iterable[Block]:
        """Take the next record; return the blocks that became whole with it."""
        self._position += 1
        out: list[Block] = []
        if self._waiting or self._position >= self._next_sweep:
            self._expire(record, out)
        if record.origin is Origin.CALLER or record.origin is Origin.CONTROL_PLANE:
            out.append(_line_block(record, record.text, _NO_PREFIX))
        elif "\n" in record.text:
            self._lines(record, out)
        else:
            self._line(record, record.text, out)
        return out

    def flush(self) -> Iterable[Block]:
        """Return what is unfinished or waits for copies, the log having ended."""
        out: list[Block] = []
        while self._open:
            _, trace = self._open.popitem(last=False)
            self._finish(trace, out)
        while self._progress:
            _, (_, record, text, prefix) = self._progress.popitem(last=False)
            out.append(_line_block(record, text, prefix))
        while self._waiting:
            out.append(self._pop_waiting())
        return out

    def _lines(self, record: LogRecord, out: list[Block]) -> None:
        """Take an entry of many lines: to its traceback if it has one, else as one block."""
        parts = record.text.split("\n")
        first = split_prefix(parts[0])
        key = (record.instance, record.stream, first.process)
        if key in self._open or any(_may_start(part) for part in parts):
            for part in parts:
                self._line(record, part, out)
            return
        stripped = [parts[0][first.length :]]
        stripped += [part[split_prefix(part).length :] for part in parts[1:]]
        out.append(_line_block(record, "\n".join(stripped), first))

    def _line(self, record: LogRecord, line: str, out: list[Block]) -> None:
        prefix = split_prefix(line)
        text = line[prefix.length :] if prefix.length else line
        key = (record.instance, record.stream, prefix.process)
        trace = self._open.get(key)
        if trace is not None:
            verdict = trace.offer(record, text, prefix, self._position)
            if verdict is Verdict.TAKEN:
                return
            if verdict is Verdict.FOREIGN:
                out.append(_line_block(record, text, prefix))
                return
            del self._open[key]
            self._finish(trace, out)
        start = _START.match(text)
        if start is not None and (kind := start.lastgroup) is not None:
            self._begin(kind, key, record, text, prefix, out)
        elif "%" in text and _PROGRESS.search(text) is not None:
            self._take_progress(key, record, text, prefix, out)
        elif ": error: " in text and _ARGPARSE.match(text) is not None:
            self._begin("usage", key, record, text, prefix, out)
        else:
            if self._progress:
                self._end_progress(key, out)
            out.append(_line_block(record, text, prefix))

    def _begin(
        self, kind: str, key: _Key, record: LogRecord, text: str, prefix: Prefix, out: list[Block]
    ) -> None:
        self._end_progress(key, out)
        trace = Trace(kind, prefix)
        trace.begin(record, text, self._position)
        self._open[key] = trace
        if len(self._open) > MAX_OPEN:
            self._finish(self._open.popitem(last=False)[1], out)

    def _take_progress(
        self, key: _Key, record: LogRecord, text: str, prefix: Prefix, out: list[Block]
    ) -> None:
        match = _LABEL.match(text)
        label = match[0].rstrip() if match else ""
        held = self._progress.get(key)
        if held is not None and held[0] != label:
            self._end_progress(key, out)
        self._progress[key] = (label, record, text, prefix)
        if len(self._progress) > MAX_OPEN:
            self._end_progress(next(iter(self._progress)), out)

    def _end_progress(self, key: _Key, out: list[Block]) -> None:
        held = self._progress.pop(key, None)
        if held is not None:
            _, record, text, prefix = held
            out.append(_line_block(record, text, prefix))

    def _finish(self, trace: Trace, out: list[Block]) -> None:
        block = trace.finish()
        if not block.exceptions:
            out.append(block)
            return
        signature = _signature(block)
        first = self._waiting.get(signature)
        if first is not None and _is_near(first, block):
            self._waiting[signature] = replace(first, copies=first.copies + 1)
            return
        if first is not None:
            self._waiting.move_to_end(signature, last=False)
            out.append(self._pop_waiting())
        self._waiting[signature] = block
        self._waiting_since[signature] = (trace.last_time, self._position)
        if len(self._waiting) > MAX_WAITING:
            out.append(self._pop_waiting())

    def _pop_waiting(self) -> Block:
        signature, block = self._waiting.popitem(last=False)
        del self._waiting_since[signature]
        return without_caller_words(block)

    def _expire(self, record: LogRecord, out: list[Block]) -> None:
        now = record.time.timestamp() if record.time is not None else None
        if self._position >= self._next_sweep:
            self._next_sweep = self._position + max(_SWEEP, len(self._open))
            for key in [k for k, trace in self._open.items() if self._is_stale(trace, now)]:
                self._finish(self._open.pop(key), out)
        while self._waiting:
            since, position = self._waiting_since[next(iter(self._waiting))]
            late = now is not None and since is not None and now - since > COPY_SECONDS
            if not late and self._position - position <= COPY_LINES:
                return
            out.append(self._pop_waiting())

    def _is_stale(self, trace: Trace, now: float | None) -> bool:
        last = trace.last_time
        if now is not None and last is not None:
            return now - last > COPY_SECONDS
        return self._position - trace.last_position > COPY_LINES


def reassembled(records: Iterable[LogRecord]) -> Iterator[Block]:
    """Yield the blocks of the records."""
    reassembler = Reassembler()
    for record in records:
        yield from reassembler.add(record)
    yield from reassembler.flush()


_NO_PREFIX = Prefix("", "", "", 0)


def _line_block(record: LogRecord, text: str, prefix: Prefix) -> Block:
    return Block("line", text, (record,), prefix.process, _line_severity(record, prefix))


def _line_severity(record: LogRecord, prefix: Prefix) -> Severity:
    return record.severity or LEVELS.get(prefix.level, Severity.DEFAULT)


def _is_near(first: Block, block: Block) -> bool:
    one, two = first.first.time, block.first.time
    return one is None or two is None or abs((two - one).total_seconds()) <= COPY_SECONDS


def _may_start(line: str) -> bool:
    text = line[split_prefix(line).length :]
    return _START.match(text) is not None or (
        ": error: " in text and _ARGPARSE.match(text) is not None
    )


def _signature(block: Block) -> tuple[object, ...]:
    """Return what two prints of one traceback share: not the stream, the process, the numbers."""
    exceptions = tuple((e.type, _DIGITS.sub("0", e.message)) for e in block.exceptions)
    return (block.first.instance, exceptions, block.exceptions[0].frames[-5:])
