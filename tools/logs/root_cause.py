"""The exception that ended a process, behind those that only report it.

From the last symptom (an exit, an exception such as "Engine core initialization failed. See root
cause above") the search goes up to the first exception that is not a wrapper. Exceptions about
one request end no process and are not looked at, nor is what was logged below ERROR.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tools.domain import Block, ExceptionNote, Failure, Launch, Origin, Severity
from tools.logs.ordering import order_of
from tools.logs.request_errors import is_request_error
from tools.logs.traceback_rules import is_plumbing, wrapper_of

MAX_EVENTS = 1_024  # tracebacks are held whole: some 70 records each
MAX_INSTANCE_EVENTS = 256
# Workers of one engine fail together; what failed this long before is another story.
CASCADE_SECONDS = 30.0
CASCADE_LINES = 3_000.0
FRAMES = 5

_EXIT = re.compile(
    r"Container called exit\((\d+)\)|Container terminated on signal (\d+)|Memory limit of "
)
_READY = re.compile(r"(?:INFO:\s+)?Application startup complete\.")
# Functions that a process of vLLM runs from its first line to its last.
_OUTERMOST = ("run_engine_core", "worker_main", "_bootstrap", "run_headless", "serve_http")

_TEMPLATE = (
    (re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12,}\b"), "<hex>"),
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "<text>"),
    (re.compile(r"(?:/[\w.@-]+){2,}/?|\b[\w-]+/[\w.-]+"), "<path>"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "<n>"),
)


def message_template(message: str) -> str:
    """Return the first line of a message with its values replaced."""
    line = message.split("\n", 1)[0][:500]
    for pattern, shown in _TEMPLATE:
        line = pattern.sub(shown, line)
    return " ".join(line.split())


def fingerprint(note: ExceptionNote) -> str:
    """Return 12 hexadecimal digits for the kind of failure.

    SHA-256 over the exception's type (without its module, which moves between releases) and the
    last five frames that are not plumbing, as file and function, recursion counted once. Where
    the exception has no frames, the message's template stands in for them.
    """
    frames: list[str] = []
    for frame in note.frames:
        if not is_plumbing(frame) and (not frames or frames[-1] != frame):
            frames.append(frame)
    what = frames[-FRAMES:] or [message_template(note.message)]
    key = "\n".join((note.type.rpartition(".")[2], *what))
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]


def root_exception(block: Block) -> ExceptionNote | None:
    """Return the first exception of a traceback that is not a wrapper, or None."""
    return next((e for e in block.exceptions if wrapper_of(e.type, e.message) is None), None)


@dataclass(slots=True)
class _Event:
    order: float
    kind: str  # root, wrapper, exit, ready
    block: Block
    root: ExceptionNote | None = None
    ends: bool = False


def find_failures(blocks: Iterable[Block], launches: Sequence[Launch] = ()) -> tuple[Failure, ...]:
    """Return the failures among the blocks; see ``FailureFinder.failures``."""
    finder = FailureFinder()
    for block in blocks:
        finder.add(block)
    return finder.failures(launches)


class FailureFinder:
    """Collect what bears on failures from blocks as they come, in any order."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, deque[_Event]] = OrderedDict()
        self._count = 0

    def add(self, block: Block) -> None:
        """Take the next block; of very many the newest instances are remembered."""
        event = _event(block)
        if event is None:
            return
        instance = block.first.instance
        events = self._events.setdefault(instance, deque(maxlen=MAX_INSTANCE_EVENTS))
        self._events.move_to_end(instance)
        self._count += len(events) < MAX_INSTANCE_EVENTS
        events.append(event)
        while self._count > MAX_EVENTS:
            self._count -= len(self._events.popitem(last=False)[1])

    def failures(self, launches: Sequence[Launch] = ()) -> tuple[Failure, ...]:
        """Return the failures: the newest start's first, and of one start the earliest first.

        The same failure in several instances is one, the newest, with the others as copies.
        """
        found: list[tuple[float, list[Failure]]] = []
        for instance, events in self._events.items():
            ordered = sorted(events, key=lambda event: event.order)
            for cascade in _cascades(ordered):
                failures = _failures(cascade, instance, launches)
                if failures:
                    found.append((cascade[-1].order, failures))
        merged: dict[str, Failure] = {}
        for _, failures in sorted(found, key=lambda item: -item[0]):
            for failure in failures:
                known = merged.get(failure.fingerprint)
                if known is None:
                    merged[failure.fingerprint] = failure
                else:
                    copies = known.block.copies + 1 + failure.block.copies
                    merged[failure.fingerprint] = replace(
                        known, block=replace(known.block, copies=copies)
                    )
        return tuple(merged.values())


def _event(block: Block) -> _Event | None:
    record = block.first
    if block.kind == "traceback" and block.exceptions:
        if (
            record.origin not in (Origin.PROCESS, Origin.PLATFORM)
            or block.severity < Severity.ERROR
            or is_request_error(block)
        ):
            return None
        root = root_exception(block)
        ends = any(
            wrapper is not None and wrapper.ends
            for wrapper in (wrapper_of(e.type, e.message) for e in block.exceptions)
        )
        return _Event(order_of(record), "wrapper" if root is None else "root", block, root, ends)
    if record.origin is Origin.PLATFORM:
        match = _EXIT.search(block.text, 0, 4096)
        if match is not None and match[1] != "0" and match[2] != "15":
            return _Event(order_of(record), "exit", block, ends=True)
    elif record.origin is Origin.PROCESS and _READY.match(block.text):
        return _Event(order_of(record), "ready", block)
    return None


def _cascades(events: Sequence[_Event]) -> Iterable[list[_Event]]:
    """Split the events of an instance at its exits, and at each start that became ready."""
    current: list[_Event] = []
    for event in events:
        if event.kind == "ready":
            if any(e.ends for e in current):
                yield current
            current = []
            continue
        current.append(event)
        if event.kind == "exit":
            yield current
            current = []
    if current:
        yield current


def _failures(
    cascade: Sequence[_Event], instance: str, launches: Sequence[Launch]
) -> list[Failure]:
    roots = [event for event in cascade if event.kind == "root"]
    wrappers = tuple(event.block for event in cascade if event.kind == "wrapper")
    symptom = next((event for event in cascade if event.ends), None)
    if symptom is None:
        roots = [event for event in roots if _ended_its_process(event)]
    before = [event for event in roots if symptom is None or event.order <= symptom.order]
    if symptom is not None and not before:
        before = roots[:1]
    if not before:
        return []
    last = before[-1]
    window = CASCADE_SECONDS if last.block.first.time is not None else CASCADE_LINES
    chosen = [event for event in before if last.order - event.order <= window]
    return [
        Failure(
            fingerprint=fingerprint(event.root),
            exception=event.root,
            block=event.block,
            wrappers=wrappers,
            launch=_launch_of(instance, event.order, launches),
        )
        for event in chosen
        if event.root is not None
    ]


def _ended_its_process(event: _Event) -> bool:
    """Tell whether the traceback goes down to where its process began."""
    if event.root is None or not event.root.frames or ":" not in event.root.frames[0]:
        return True  # no Python: a panic, an abort, a refused command line
    function = event.root.frames[0].rpartition(":")[2]
    return function == "<module>" or function in _OUTERMOST or event.block.complete is False


def _launch_of(instance: str, order: float, launches: Sequence[Launch]) -> Launch | None:
    found: Launch | None = None
    for launch in launches:
        if launch.instance != instance:
            continue
        record = launch.args_record or next(iter(launch.env_records), None)
        if record is None or order_of(record) <= order:
            found = launch
    return found
