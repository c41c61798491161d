"""Readings that are kept: small lines of JSON, so that burn rates reach back for days.

One file per endpoint. Each line holds the good and total count of each objective at one time;
lines older than the longest period are dropped when the file is written anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from tools.errors import StateError
from tools.measure.slo import DAY, Count

KEEP = 31 * DAY  # seconds
MAX_BYTES = 16 * 1024 * 1024  # beyond it the file is written anew without what is too old
SPACING = 30.0  # seconds; readings closer than this replace each other


class History:
    """The readings of one endpoint in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.path = folder / f"slo-{name}.jsonl"

    def read(self) -> dict[str, list[Count]]:
        """Return the counts by objective, in the order of time; lines that are torn are left out.

        Raises StateError where the file can't be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateError(f"{self.path} can't be read: {error.strerror or error}.") from error
        found: dict[str, list[Count]] = {}
        for line in data.splitlines():
            try:
                told = orjson.loads(line)
                time = float(told["time"])
                rows = {
                    str(name): Count(time, float(good), float(total))
                    for name, (good, total) in told["counts"].items()
                }
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            for name, count in rows.items():
                found.setdefault(name, []).append(count)
        for counts in found.values():
            counts.sort(key=lambda count: count.time)
        return found

    def add(self, time: float, counts: Mapping[str, Count]) -> None:
        """Keep a reading; raises StateError where that fails."""
        if not counts:
            return
        line = _line(time, counts)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(line)
                size = file.tell()
            if size > MAX_BYTES:
                self._shorten(time - KEEP)
        except OSError as error:
            raise StateError(f"{self.path} can't be written: {error.strerror}.") from error

    def _shorten(self, oldest: float) -> None:
        by_time: dict[float, dict[str, Count]] = {}
        for name, counts in self.read().items():
            last = -SPACING
            for count in counts:
                if count.time >= oldest and count.time - last >= SPACING:
                    by_time.setdefault(count.time, {})[name] = count
                    last = count.time
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(b"".join(_line(time, by_time[time]) for time in sorted(by_time)))
        os.replace(fresh, self.path)


def _line(time: float, counts: Mapping[str, Count]) -> bytes:
    rows = {name: [count.good, count.total] for name, count in counts.items()}
    return orjson.dumps({"time": time, "counts": rows}) + b"\n"
