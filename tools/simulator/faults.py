"""Faults that a scenario or a test injects: errors, latency, stalls and nonsense, per method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(slots=True)
class Fault:
    """What to do to calls whose method matches the glob ``on``.

    ``times`` is how many calls it hits, None for all; ``latency`` is real seconds, added before
    anything else. ``stall`` answers never; ``malformed`` answers bytes that can't be parsed;
    ``behaviour`` (HTTP only) is one of the endpoint's behaviours, for this path alone.
    """

    on: str
    error: Mapping[str, Any] = field(default_factory=dict)
    times: int | None = None
    latency: float = 0.0
    stall: bool = False
    malformed: bool = False
    behaviour: str = ""

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Fault:
        """Return the fault that a scenario's row describes."""
        times = row.get("times", "always")
        return cls(
            on=row["on"],
            error=row.get("error", {}),
            times=None if times == "always" else int(times),
            latency=float(row.get("latency", 0.0)),
            stall=bool(row.get("stall", False)),
            malformed=bool(row.get("malformed", False)),
            behaviour=row.get("behaviour", ""),
        )


class FaultBook:
    """The faults still to come; each matching call uses up one of a fault's ``times``."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults

    def add(self, fault: Fault) -> None:
        """Add a fault; it comes after those that are already there."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget every fault."""
        self._faults.clear()

    def take(self, method: str) -> list[Fault]:
        """Return the faults that hit this call, and count them as used."""
        hits = []
        for fault in list(self._faults):
            if not fnmatchcase(method, fault.on):
                continue
            hits.append(fault)
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
        return hits
