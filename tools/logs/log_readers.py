"""Records from each form of log file, as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from tools.domain import LogRecord
from tools.logs.log_formats import Form, Lines, LogFile, Recoder, is_stamped, split_stamp
from tools.logs.log_report import LogReport
from tools.logs.records import cut_mark, parse_time, record_from_entry, record_from_line

MAX_JSON_LINE = 8 << 20  # bytes; escapes make a line longer than the 256 KiB of its entry


def _json_array(file: LogFile, name: str, head: bytes, report: LogReport) -> Iterator[LogRecord]:
    return _json_items(file, name, head, report, "item")


def _json_stream(file: LogFile, name: str, head: bytes, report: LogReport) -> Iterator[LogRecord]:
    return _json_items(file, name, head, report, "")


def _json_items(
    file: LogFile, name: str, head: bytes, report: LogReport, prefix: str
) -> Iterator[LogRecord]:
    import ijson

    source = _Tail(Recoder(_without_mark(file, head)))
    used = 0
    try:
        entries = ijson.items(source, prefix, use_float=True, multiple_values=not prefix)
        for index, entry in enumerate(entries):
            if isinstance(entry, Mapping) and entry:
                used += 1
                yield from _records(entry, f"{name}:{index + 1}", report)
            else:
                report.skipped += 1
    except (ijson.JSONError, ValueError) as error:
        report.truncated = True
        lost = source.after_last_entry()
        what = "array" if prefix else "data"
        how = (
            "is cut"
            if isinstance(error, ijson.IncompleteJSONError) and lost.ended
            else "breaks off"
        )
        report.note(
            f"{name}: the JSON {what} {how} after entry {used}: {used} of them used"
            + (f", {lost.size:,} bytes after it were not." if lost.size else ".")
        )
    report.replaced += source.replaced


class _Lost(NamedTuple):
    size: int  # bytes read behind the last whole entry, 0 if unknown
    ended: bool  # the file ended there


class _Tail:
    """A file that remembers the end of what was read of it, to say how much was lost."""

    KEPT = 1 << 20

    def __init__(self, file: Recoder) -> None:
        self._file = file
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False

    @property
    def replaced(self) -> int:
        return self._file.replaced

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size) or b""
        self._ended = self._ended or (not data and size != 0)
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= self.KEPT:
            self._size -= len(self._chunks.popleft())
        return data

    def after_last_entry(self) -> _Lost:
        """Return how many bytes follow the end of the last entry that was whole."""
        tail = b"".join(self._chunks)
        end = max(tail.rfind(mark) for mark in (b"\n  },", b"\n },", b"\n},", b"\n}\n"))
        return _Lost(len(tail) - end - 4 if end >= 0 else 0, self._ended)


def _records(entry: Mapping[str, Any], ref: str, report: LogReport) -> Iterator[LogRecord]:
    entries = entry.get("entries")  # an answer of entries.list
    if isinstance(entries, list) and "logName" not in entry:
        for index, one in enumerate(entries):
            if isinstance(one, Mapping) and one:
                yield record_from_entry(one, fallback_ref=f"{ref}.{index + 1}")
            else:
                report.skipped += 1
        return
    yield record_from_entry(entry, fallback_ref=ref)


def _without_mark(file: LogFile, head: bytes) -> LogFile:
    if head.startswith(b"\xef\xbb\xbf"):
        file.read(3)
    return file


def _json_lines(file: LogFile, name: str, head: bytes, report: LogReport) -> Iterator[LogRecord]:
    import orjson

    lines = Lines(_without_mark(file, head), MAX_JSON_LINE)
    for number, (line, dropped) in enumerate(lines, 1):
        ref = f"{name}:{number}"
        stripped = line.strip()
        if not stripped:
            continue
        try:
            entry = orjson.loads(stripped)
        except orjson.JSONDecodeError:
            entry = _repaired(stripped, report)
        if isinstance(entry, Mapping) and entry:
            yield from _records(entry, ref, report)
        elif entry is not None or dropped or stripped.startswith(b"{"):
            report.skipped += 1
        else:
            # A line between entries that is no JSON: what a tool or the container printed.
            yield _plain_record(stripped, ref, dropped, report)
    _note_cut(lines, report)


def _repaired(line: bytes, report: LogReport) -> Any:
    """Return a line of JSON whose only fault is its encoding, else None."""
    import orjson

    text = line.decode("utf-8", "replace")
    if "\ufffd" not in text:
        return None
    try:
        entry = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    report.replaced += 1
    return entry


def _plain(file: LogFile, name: str, head: bytes, report: LogReport) -> Iterator[LogRecord]:
    stamped = is_stamped(head)
    lines = Lines(_without_mark(file, head))
    for number, (line, dropped) in enumerate(lines, 1):
        time = None
        if stamped:
            stamp, rest = split_stamp(line)
            time = parse_time(stamp.replace(" ", "T"))
            line = rest if time is not None else line
        yield _plain_record(line, f"{name}:{number}", dropped, report, time)
    _note_cut(lines, report)


def _plain_record(
    line: bytes, ref: str, dropped: int, report: LogReport, time: datetime | None = None
) -> LogRecord:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("utf-8", "replace")
        report.replaced += 1
    text = text.rstrip("\r")
    if "\r" in text:  # a progress bar rewrote its line
        text = "\n".join(part for part in text.split("\r") if part)
    if dropped:
        text += f" {cut_mark(dropped)}"
    return record_from_line(text, ref, time=time)


def _note_cut(lines: Lines, report: LogReport) -> None:
    report.cut_lines += lines.cut
    report.longest_line = max(report.longest_line, lines.longest)


READERS: dict[Form, Callable[[LogFile, str, bytes, LogReport], Iterator[LogRecord]]] = {
    "json-array": _json_array,
    "json-lines": _json_lines,
    "json-stream": _json_stream,
    "plain": _plain,
}
