"""What is remembered of each template while lines are read: bounded, whatever is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tools.domain import Severity
from tools.logs.masking import MAX_CHARS

SAMPLES = 64  # lines kept of a template for its examples and its variables' values
SLICES = 64  # of the window, to find bursts in
_BUCKETS = 256  # counts by time kept of a template before its slices are made twice as wide
_DISTINCT = 10_000  # instances or revisions counted exactly up to here


@dataclass(slots=True)
class Tally:
    """Counts and samples of one template. Times are in seconds since 1970."""

    severity: Severity = Severity.DEFAULT
    first: datetime | None = None
    last: datetime | None = None
    # None until needed: many templates and containers in each make collecting garbage slow
    instances: set[str] | None = None
    revisions: set[str] | None = None
    buckets: dict[int, int] | None = None  # second // width → lines
    width: int = 1
    refs: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # the lines at refs
    stride: int = 1
    offered: int = 0

    def offer(self, ref: str, text: str, *, room: bool) -> int:
        """Keep every stride-th line offered; return how many characters more are held.

        Twice the stride each time ``SAMPLES`` are held; without room, only the first line.
        """
        text = text[:MAX_CHARS]
        before = len(self.texts)
        if self.offered % self.stride == 0 and (room or not self.texts):
            if len(self.refs) == SAMPLES:
                del self.refs[1::2], self.texts[1::2]
                self.stride *= 2
            if self.offered % self.stride == 0:
                self.refs.append(ref)
                self.texts.append(text)
        self.offered += 1
        return len(text) if len(self.texts) > before else 0

    def note(self, time: datetime | None, severity: Severity, instance: str, revision: str) -> None:
        """Count one line's surroundings."""
        if severity > self.severity:
            self.severity = severity
        if instance:
            self.instances = _noted(self.instances, instance)
        if revision:
            self.revisions = _noted(self.revisions, revision)
        if time is not None:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time
            bucket = int(time.timestamp()) // self.width
            if self.buckets is None:
                self.buckets = {}
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
            if len(self.buckets) > _BUCKETS:
                self.width *= 2
                wider: dict[int, int] = {}
                for bucket, count in self.buckets.items():
                    wider[bucket // 2] = wider.get(bucket // 2, 0) + count
                self.buckets = wider


def _noted(names: set[str] | None, name: str) -> set[str]:
    if names is None:
        return {name}
    if len(names) < _DISTINCT:
        names.add(name)
    return names


def distinct(sets: Iterable[set[str] | None]) -> int:
    """Return how many names there are in all of the sets."""
    return len(set().union(*(names for names in sets if names)))


def burst(tallies: list[Tally], first: datetime | None, last: datetime | None) -> float:
    """Return how many times the busiest slice has the mean of the window's slices.

    The slices are the least power of two of seconds that cuts the window into at most
    ``SLICES``; widths in the tallies are powers of two that are never wider.
    """
    if first is None or last is None:
        return 1.0
    begin, end = int(first.timestamp()), int(last.timestamp())
    width = 1
    while end // width - begin // width >= SLICES:
        width *= 2
    slices = end // width - begin // width + 1
    counts: dict[int, int] = {}
    for tally in tallies:
        for bucket, count in (tally.buckets or {}).items():
            place = bucket * tally.width // width
            counts[place] = counts.get(place, 0) + count
    if not counts:
        return 1.0
    return max(counts.values()) / max(1.0, sum(counts.values()) / slices)
