"""A log in one pass: counts, failures, launches, and the facts that a diagnosis tests."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from tools.domain import Block, Failure, Launch, LogRecord, Observation, Scalar, Severity
from tools.logs.lifecycle import Ending, Lifecycle, Start
from tools.logs.ordering import order_of
from tools.logs.provenance import CanonicalStream
from tools.logs.reassembly import Reassembler
from tools.logs.root_cause import FailureFinder

MAX_BLOCKS = 500  # the first 250, then the newest; a traceback holds some 70 records


class LogDigest:
    """Read records, oldest first, once; memory does not grow with the log.

    ``total`` counts them; ``first`` and ``last`` are the oldest and the newest time.

    ``on_block`` sees every block once, as it becomes whole. Results are complete after
    ``finish``.
    """

    def __init__(self, on_block: Callable[[Block], None] | None = None) -> None:
        self.total = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._by_severity: Counter[Severity] = Counter()
        self._on_block = on_block
        self._stream = CanonicalStream()
        self._reassembler = Reassembler()
        self._finder = FailureFinder()
        self._lifecycle = Lifecycle()
        self._head: list[Block] = []
        self._tail: deque[Block] = deque()
        self._failures: tuple[Failure, ...] | None = None
        self._unfinished: Block | None = None
        self._where: LogRecord | None = None

    def add(self, record: LogRecord) -> None:
        """Take the next record."""
        self._failures = None
        self.total += 1
        if record.time is not None:
            if self.first is None or record.time < self.first:
                self.first = record.time
            if self.last is None or record.time > self.last:
                self.last = record.time
        if record.service and (self._where is None or order_of(record) >= order_of(self._where)):
            self._where = record
        for attributed in self._stream.add(record):
            self._read(attributed)

    def finish(self) -> None:
        """Take what is still held back; more records may follow, their blocks are new ones."""
        self._failures = None
        for record in self._stream.flush():
            self._read(record)
        self._take(self._reassembler.flush())

    @property
    def service(self) -> str:
        """Return the service that the newest record names, empty if none does."""
        return self._where.service if self._where is not None else ""

    @property
    def project(self) -> str:
        """Return the project of that record."""
        return self._where.project if self._where is not None else ""

    @property
    def location(self) -> str:
        """Return the region or zone of that record."""
        return self._where.location if self._where is not None else ""

    @property
    def by_severity(self) -> Mapping[Severity, int]:
        """Return the number of records of each severity, the gravest first."""
        return dict(sorted(self._by_severity.items(), reverse=True))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return the exceptions that ended processes, the newest start's first."""
        if self._failures is None:
            self._failures = self._finder.failures(self.launches)
        return self._failures

    @property
    def launches(self) -> tuple[Launch, ...]:
        """Return what the serving processes printed of themselves, oldest first."""
        return self._lifecycle.launches

    @property
    def starts(self) -> tuple[Start, ...]:
        """Return the starts with their phases, oldest first."""
        return self._lifecycle.starts

    @property
    def endings(self) -> tuple[Ending, ...]:
        """Return how containers ended, as the platform says, oldest first."""
        return tuple(self._lifecycle.endings)

    @property
    def probe_failure(self) -> LogRecord | None:
        """Return the newest record in which the platform says that a start-up probe failed."""
        return self._lifecycle.probe_failed

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Return tracebacks, errors and what told of a start or an end; at most 500."""
        return (*self._head, *self._tail)

    def observations(self) -> tuple[Observation, ...]:
        """Return the facts ``logs.*``, each with the words that it rests on."""
        found = [
            Observation(
                "logging",
                "",
                f"{self.total} entries",
                self.last,
                facts={"logs.entries": self.total},
            )
        ]
        life = self._lifecycle
        start = life.newest
        ready = self._ready(start)
        if ready is not None:
            found.append(_observation(ready[1], {"logs.ready": ready[0]}))
        code = _newest(e for e in life.endings if e.exit_code is not None)
        if code is not None and code.exit_code is not None:
            found.append(_observation(code.record, {"logs.exit_code": code.exit_code}))
        signal = _newest(e for e in life.endings if e.signal is not None)
        if signal is not None and signal.signal is not None:
            found.append(_observation(signal.record, {"logs.signal": signal.signal}))
        if life.probe_failed is not None:
            found.append(_observation(life.probe_failed, {"logs.probe_failed": True}))
        if start is not None:
            found += self._loading(start)
        return tuple(found)

    def _read(self, record: LogRecord) -> None:
        self._by_severity[record.severity] += 1
        self._take(self._reassembler.add(record))

    def _take(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            told = self._lifecycle.add(block)
            if told or block.kind == "traceback" or block.severity >= Severity.ERROR:
                self._finder.add(block)
                self._keep(block)
                if not block.complete:
                    self._unfinished = block
            if self._on_block is not None:
                self._on_block(block)

    def _keep(self, block: Block) -> None:
        if len(self._head) < MAX_BLOCKS // 2:
            self._head.append(block)
            return
        self._tail.append(block)
        if len(self._tail) > MAX_BLOCKS // 2:
            self._tail.popleft()

    def _against(self, start: Start) -> list[LogRecord]:
        """Return what speaks against the start having become and stayed ready."""
        life = self._lifecycle
        against = [
            e.record for e in life.endings if e.is_failure and e.record.instance == start.instance
        ]
        against += [f.record for f in self.failures if f.record.instance == start.instance]
        if life.probe_failed is not None and life.probe_failed.instance in ("", start.instance):
            against.append(life.probe_failed)
        return [record for record in against if order_of(record) >= start.order]

    def _ready(self, start: Start | None) -> tuple[bool, LogRecord] | None:
        if start is None:
            failed = [f.record for f in self.failures] + [
                e.record for e in self._lifecycle.endings if e.is_failure
            ]
            return (False, max(failed, key=order_of)) if failed else None
        against = self._against(start)
        if start.ready is None:
            heard = against or [p.record for p in start.phases] or list(start.env_records)
            return (False, heard[-1]) if heard else None
        later = [record for record in against if order_of(record) >= order_of(start.ready)]
        return (False, later[-1]) if later else (True, start.ready)

    def _loading(self, start: Start) -> list[Observation]:
        found = []
        if start.percent is not None and start.percent_record is not None:
            found.append(
                _observation(start.percent_record, {"logs.weights_percent": start.percent})
            )
        weights = start.percent_record or start.reached("weights")
        if weights is not None:
            over = start.reached("loaded", "kv_cache", "graphs", "ready") is not None or any(
                failure.record.instance == start.instance
                and order_of(failure.record) >= start.order
                for failure in self.failures
            )
            cut = self._unfinished  # the log ended in the middle of an exception: loading was over
            over = over or (cut is not None and order_of(cut.first) >= order_of(weights))
            found.append(_observation(weights, {"logs.loading": not over}))
        return found


def digest_of(
    records: Iterable[LogRecord], on_block: Callable[[Block], None] | None = None
) -> LogDigest:
    """Return the finished digest of the records."""
    digest = LogDigest(on_block)
    for record in records:
        digest.add(record)
    digest.finish()
    return digest


def _newest(endings: Iterable[Ending]) -> Ending | None:
    return max(endings, key=lambda ending: order_of(ending.record), default=None)


def _observation(record: LogRecord, facts: Mapping[str, Scalar]) -> Observation:
    return Observation("logging", record.ref, record.text, record.time, record.origin, dict(facts))
