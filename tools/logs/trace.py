"""One traceback in the making: a state machine over the lines of one process in one stream.

Prefixes are gone when lines arrive here. Python's own format (``Lib/traceback.py``, 3.10 to
3.13): chained exceptions, exception groups, repeated lines; Go's ``panic:`` stacks; the abort of
C++ and of the Python runtime; argparse's two lines.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from tools.domain import Block, ExceptionNote, LogRecord, Severity
from tools.logs.prefix import LEVELS, Prefix
from tools.logs.traceback_rules import short_path

MAX_LINES = 2_000
MAX_MESSAGE_LINES = 60
MAX_MESSAGE = 4_000  # characters
MAX_NOISE = 20
ONE_PRINT = 1.0  # seconds between two lines of one message


class Verdict(Enum):
    """What became of a line that was offered to a traceback."""

    TAKEN = auto()
    FOREIGN = auto()  # another line of the same process between two of the traceback
    ENDED = auto()  # the traceback ended before this line


HEADER = "Traceback (most recent call last):"
_GROUP_HEADER = "Exception Group Traceback (most recent call last):"
_CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_GUTTER = re.compile(r"[ ]*(?:\+ |\|(?: |$)|\+-)")
_RULER = re.compile(r"[-+ ]*-{3,}[- 0-9.]*$")
_FRAME = re.compile(r'\s+File "([^"\n]{1,500})", line \d+(?:, in (.{1,200}))?')
_SUFFIX = r"(?:Error|Exception|Exit|Interrupt|Warning|Group|Timeout|Iteration|Fault|Cancelled|Died)"
_NAME = r"(?:[A-Za-z_][\w<>]*\.)*[A-Za-z_]\w*"
_EXCEPTION = re.compile(rf"({_NAME})(?:: ?(.*)| \((.*)\))?$", re.DOTALL)
_TYPED = re.compile(rf"(?:[A-Za-z_][\w<>]*\.)*(?:[A-Z]\w*|\w*{_SUFFIX}|\w*error)$")
_BARE = re.compile(rf".*{_SUFFIX}$|[a-z_][\w.]*\.[A-Z]\w*$|.*\.error$")
_NOT_TYPES = frozenset(
    {"INFO", "DEBUG", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL", "NOTICE", "NOTE", "Process",
     "Reason", "Reasons", "Hint", "Note", "Loading"}
)  # fmt: skip
_LOG_LINE = re.compile(
    r"(?:INFO|DEBUG|WARNING|ERROR|CRITICAL)[: ]|\[?[IWEF]\d{3,4} \d\d:|\[rank\d|\d{4}-\d\d-\d\d[T ]"
    r"|time=|usage: |Process \S+:$|Loading |nanobind: |Triton is |\[\d{4}-|\{\""
)
_ASIDE = re.compile(
    r"frame #\d+:|Exception raised from |C\+\+ CapturedTraceback|For simplicity, JAX has removed"
    r"|-{10,}$|The stack trace below excludes JAX|The preceding (?:is|stack trace) "
)
_GO = re.compile(
    r"goroutine \d+|\t|created by |\[signal |exit status|[\w./*()\[\]{},-]+\(.*\)$|\s*$"
    r"|runtime: |panic: |\s+panic: |fatal error: "
)
_NATIVE = re.compile(
    r"\s|$|Current thread |Thread 0x|Extension modules|  what\(\)|@ |\[failure_signal|PC: |\*\*\* "
    r"|frame #"
)
_PANIC = re.compile(
    r"(?:\[?signal )?(panic|fatal error): (.*?)(?:\s+goroutine \d+ \[.*)?$", re.DOTALL
)


def exception_line(line: str) -> tuple[str, str] | None:
    """Return type and message if the line is one that ends a traceback."""
    match = _EXCEPTION.match(line)
    if match is None:
        return None
    name, message, arguments = match.groups()
    if name in _NOT_TYPES or _TYPED.match(name) is None:
        return None
    if message is None and arguments is None and _BARE.match(name) is None:
        return None
    return name, message or arguments or ""


class Trace:
    """A traceback while its lines arrive."""

    __slots__ = (
        "_blank", "_exceptions", "_grouped", "_kind", "_message", "_message_lines", "_noise",
        "_phase", "_place", "_start", "_type", "last_position", "level", "lines",
        "process", "records",
    )  # fmt: skip

    def __init__(self, kind: str, prefix: Prefix) -> None:
        self.process = prefix.process
        self.level = prefix.level
        self.records: list[LogRecord] = []
        self.lines: list[str] = []
        self.last_position = 0
        self._place = prefix.place
        self._kind = kind
        self._phase = "frames" if kind == "python" else kind
        self._exceptions: list[ExceptionNote] = []
        self._grouped = False
        self._start = 0  # where the frames of the current exception begin
        self._type = ""
        self._message: list[str] = []
        self._message_lines: list[int] = []
        self._noise = 0
        self._blank = 0

    @property
    def last_time(self) -> float | None:
        """Return the time of the last line, in seconds since the epoch."""
        time = self.records[-1].time
        return time.timestamp() if time is not None else None

    def begin(self, record: LogRecord, line: str, position: int) -> None:
        """Take the line that the traceback begins with."""
        if self._kind == "python":
            body = self._body(line)
            if not body.endswith(HEADER) and not body.startswith("  "):
                found = exception_line(body)
                if found is not None:
                    self._open_exception(*found)
        elif self._kind == "go":
            match = _PANIC.match(line)
            self._open_exception(match[1] if match else "panic", match[2] if match else line)
        elif self._kind == "native":
            name, _, message = line.partition(": ")
            self._open_exception(name if message else "abort", message or line)
        elif ": error: " in line:
            self._phase = "done"
            self._open_exception("argparse.ArgumentError", line.partition(": error: ")[2])
        self._append(record, line, position)

    def offer(self, record: LogRecord, line: str, prefix: Prefix, position: int) -> Verdict:
        """Take the line if it belongs here, and say what became of it."""
        if len(self.lines) >= MAX_LINES:
            return Verdict.ENDED
        if (
            line[:2] == "  "
            and prefix.place == self._place
            and self._phase == "frames"
            and not self._grouped
            and "+ Exception Group" not in line
        ):  # nine lines in ten, and nothing to decide
            self.records.append(record)
            self.lines.append(line)
            self.last_position = position
            return Verdict.TAKEN
        if prefix.level:
            # A logger prints its place on each line of a message: another place, another message.
            if prefix.place != self._place:
                return Verdict.ENDED if self._phase != "frames" or self.level else Verdict.FOREIGN
        elif self.level:
            return Verdict.FOREIGN if self._phase == "frames" else Verdict.ENDED
        verdict = getattr(self, f"_in_{self._phase}")(record, line)
        if verdict is Verdict.TAKEN:
            self._append(record, line, position)
        return verdict  # type: ignore[no-any-return]

    def finish(self) -> Block:
        """Return the traceback as a block; incomplete if its exception was never named."""
        complete = bool(self._type) or (
            bool(self._exceptions) and self._phase not in ("frames", "chain")
        )
        self._close_exception()
        severity = LEVELS.get(self.level, Severity.ERROR)
        return Block(
            kind="traceback",
            text="\n".join(self.lines),
            records=tuple(self.records),
            process=self.process,
            severity=severity,
            exceptions=tuple(self._exceptions),
            complete=complete,
        )

    def _append(self, record: LogRecord, line: str, position: int) -> None:
        self.records.append(record)
        self.lines.append(line)
        self.last_position = position

    def _body(self, line: str) -> str:
        if line[:1] in " +|":
            match = _GUTTER.match(line)
            if match is not None:
                self._grouped = True
                return line[match.end() :]
        return line

    def _in_frames(self, _: LogRecord, line: str) -> Verdict:
        if not self._grouped and line[:2] == "  " and "+ Exception Group" not in line:
            return Verdict.TAKEN
        body = self._body(line)
        if not body.strip() or body[0] in " \t" or body == _GROUP_HEADER:
            return Verdict.TAKEN
        if body.startswith(HEADER):
            if self._grouped:
                self._start = len(self.lines)
                return Verdict.TAKEN
            return Verdict.ENDED
        found = exception_line(body)
        if found is not None and not _LOG_LINE.match(body):
            self._open_exception(*found)
            return Verdict.TAKEN
        if self._grouped and _RULER.match(body):
            return Verdict.TAKEN
        self._noise += 1
        return Verdict.FOREIGN if self._noise <= MAX_NOISE else Verdict.ENDED

    def _in_message(self, record: LogRecord, line: str) -> Verdict:
        body = self._body(line) if self._grouped else line
        if self._grouped and body is line and line.strip():
            return Verdict.ENDED
        stripped = body.strip()
        if not stripped:
            self._blank += 1
            return Verdict.TAKEN if self._blank < 4 else Verdict.ENDED
        if stripped in _CHAIN:
            self._close_exception()
            self._phase = "chain"
            return Verdict.TAKEN
        if self._grouped:
            if _RULER.match(body):
                self._close_exception()
                self._phase = "frames"
                return Verdict.TAKEN
            if stripped.endswith(HEADER):
                self._close_exception()
                self._phase = "frames"
                return Verdict.TAKEN
        elif stripped.startswith((HEADER, "+ Exception Group Traceback")):
            return Verdict.ENDED
        if not self.level and (self._late(record) or _LOG_LINE.match(body)):
            return Verdict.ENDED
        if _ASIDE.match(body):
            return Verdict.TAKEN
        if len(self._message) >= MAX_MESSAGE_LINES:
            return Verdict.ENDED
        self._message += [""] * self._blank
        self._blank = 0
        self._message.append(body)
        self._message_lines.append(len(self.lines))
        return Verdict.TAKEN

    def _in_chain(self, _: LogRecord, line: str) -> Verdict:
        body = self._body(line)
        if not body.strip():
            return Verdict.TAKEN
        if body.startswith(HEADER) or body.strip().endswith(_GROUP_HEADER):
            self._phase = "frames"
            self._start = len(self.lines)
            return Verdict.TAKEN
        found = exception_line(body)  # an exception that was never raised has no traceback
        if found is None:
            return Verdict.ENDED
        self._open_exception(*found)
        return Verdict.TAKEN

    def _in_go(self, record: LogRecord, line: str) -> Verdict:
        return Verdict.TAKEN if _GO.match(line) and not self._late(record) else Verdict.ENDED

    def _in_native(self, record: LogRecord, line: str) -> Verdict:
        return Verdict.TAKEN if _NATIVE.match(line) and not self._late(record) else Verdict.ENDED

    def _in_usage(self, record: LogRecord, line: str) -> Verdict:
        if ": error: " in line:
            self._phase = "done"
            self._open_exception("argparse.ArgumentError", line.partition(": error: ")[2])
            return Verdict.TAKEN
        if self._late(record) or (
            line[:1] not in " \t[" and line.strip() and _LOG_LINE.match(line)
        ):
            return Verdict.ENDED
        return Verdict.TAKEN if len(self.lines) < MAX_MESSAGE_LINES else Verdict.ENDED

    def _in_done(self, _: LogRecord, __: str) -> Verdict:
        return Verdict.ENDED

    def _late(self, record: LogRecord) -> bool:
        return (
            record.time is not None
            and (last := self.last_time) is not None
            and record.time.timestamp() - last > ONE_PRINT
        )

    def _open_exception(self, name: str, message: str) -> None:
        self._type = name
        self._message = [message]
        self._message_lines = [len(self.lines)]
        self._blank = 0
        if self._kind == "python":
            self._phase = "message"

    def _close_exception(self) -> None:
        if not self._type:
            return
        frames = self._frames(self._start, self._message_lines[0])
        self._exceptions.append(
            ExceptionNote(
                type=self._type,
                message="\n".join(self._message)[:MAX_MESSAGE].rstrip(),
                lines=tuple(self._message_lines),
                frames=frames,
            )
        )
        self._type = ""
        self._message = []
        self._start = len(self.lines)

    def _frames(self, start: int, stop: int) -> tuple[str, ...]:
        if self._kind == "go":
            calls = (line for line in self.lines[1:] if line.endswith(")") and "(" in line)
            return tuple(line.rpartition("(")[0].removeprefix("created by ") for line in calls)[
                ::-1
            ]
        frames: list[str] = []
        for line in self.lines[start:stop] if self._kind == "python" else self.lines:
            match = _FRAME.match(line.replace("|", " ", 1) if self._grouped else line)
            if match is not None:
                frames.append(f"{short_path(match[1])}:{match[2] or ''}".rstrip(":"))
        return tuple(frames if self._kind != "native" else frames[::-1])
