"""How long starts took, phase by phase, as their logs say; and what a history of them gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tools.domain import LogRecord
from tools.logs.digest import LogDigest
from tools.logs.lifecycle import PhaseName, Start
from tools.sizing.phases import COMPILING, PHASES, PROCESS, WEIGHTS

# A start that "took" longer has lost lines in between: two starts would be counted as one.
LONGEST = 6 * 3600.0  # seconds


@dataclass(frozen=True)
class ObservedStart:
    """One start that was seen; ``phases`` are seconds by name, only those whose ends were seen."""

    began: datetime
    service: str = ""
    revision: str = ""
    instance: str = ""
    model: str = ""
    version: str = ""
    ready: bool = False
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return what is the same whenever this start is read again."""
        parts = (self.service, self.revision, self.instance, self.began.isoformat())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def seconds(self) -> float | None:
        """Return what it took as a whole, None when a phase was not seen."""
        return sum(self.phases.values()) if set(PHASES) <= set(self.phases) else None

    def to_json(self) -> dict[str, Any]:
        """Return the start as JSON has it."""
        return {
            "began": self.began.isoformat(),
            "service": self.service,
            "revision": self.revision,
            "instance": self.instance,
            "model": self.model,
            "vllm_version": self.version,
            "ready": self.ready,
            "phases_s": {name: round(value, 3) for name, value in self.phases.items()},
        }


def observed_starts(records: Iterable[LogRecord]) -> tuple[ObservedStart, ...]:
    """Return the starts that records, oldest first, tell of; without a time there is none."""
    digest = LogDigest()
    for record in records:
        digest.add(record)
    digest.finish()
    return starts_of(digest.starts, digest.service)


def starts_of(starts: Iterable[Start], service: str = "") -> tuple[ObservedStart, ...]:
    """Return the starts of a log digest of which a phase was seen from end to end."""
    found = []
    for start in starts:
        phases = _phases(start)
        if phases:
            found.append(
                ObservedStart(
                    began=datetime.fromtimestamp(start.order, UTC),
                    service=service,
                    revision=start.revision,
                    instance=start.instance,
                    model=start.model,
                    version=start.version,
                    ready=start.ready is not None,
                    phases=phases,
                )
            )
    return tuple(found)


def history(starts: Iterable[ObservedStart]) -> dict[str, tuple[float, ...]]:
    """Return the seconds that were seen of each phase."""
    found: dict[str, list[float]] = {}
    for start in starts:
        for name, seconds in start.phases.items():
            found.setdefault(name, []).append(seconds)
    return {name: tuple(found[name]) for name in PHASES if name in found}


def _phases(start: Start) -> dict[str, float]:
    # From the container's first line to "Starting to load model", to the loaded weights, to
    # readiness: the ends that every version since vLLM 0.8 prints.
    began = start.order
    loading, loaded = _first(start, "weights"), _last(start, "loaded")
    ready = _first(start, "ready")
    marks: Sequence[tuple[str, float | None, float | None]] = (
        (PROCESS, began, loading),
        (WEIGHTS, loading, loaded),
        (COMPILING, loaded, ready),
    )
    found = {}
    for name, first, last in marks:
        # Line numbers stand for times where a log has none, and a second is never a line.
        if first is None or last is None or first < _A_YEAR:
            continue
        if 0 <= last - first <= LONGEST:
            found[name] = last - first
    return found


_A_YEAR = 365.0 * 24 * 3600


def _first(start: Start, name: PhaseName) -> float | None:
    times = [p.record.time for p in start.phases if p.name == name and p.record.time is not None]
    return times[0].timestamp() if times else None


def _last(start: Start, name: PhaseName) -> float | None:
    times = [p.record.time for p in start.phases if p.name == name and p.record.time is not None]
    return times[-1].timestamp() if times else None
