"""The simulated clock: stands still unless moved, or runs with the wall for the live demo."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SimulatedClock:
    """Tell the time of the simulated world, in UTC.

    With ``running`` the clock moves with the wall, from the scenario's ``now`` on.
    """

    def __init__(self, start: datetime, *, running: bool = False) -> None:
        self._start = start
        self._base = time.monotonic() if running else None

    def now(self) -> datetime:
        """Return the simulated time."""
        if self._base is None:
            return self._start
        return self._start + timedelta(seconds=time.monotonic() - self._base)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds``."""
        if seconds < 0:
            raise ValueError("the clock can't go back")
        self._start += timedelta(seconds=seconds)

    def run(self) -> None:
        """Let the clock move with the wall from now on."""
        if self._base is None:
            self._base = time.monotonic()

    def seconds(self) -> float:
        """Return the simulated time as seconds since the epoch."""
        return self.now().astimezone(UTC).timestamp()
