"""A token bucket: keep under a quota of so many calls a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from tools.errors import QuotaExceeded


class TokenBucket:
    """Let no more than ``per_minute`` calls pass in any minute, ``burst`` of them at once.

    The bucket refills at what the burst leaves of the minute, so that a full bucket and a
    minute's refill together stay within the quota. ``clock`` returns seconds; only its
    differences matter.
    """

    def __init__(
        self, per_minute: int, *, burst: int = 20, clock: Callable[[], float] = monotonic
    ) -> None:
        self._size = float(burst)
        self._rate = (per_minute - burst) / 60
        self._clock = clock
        self._tokens = self._size
        self._at = clock()

    def reserve(self) -> float:
        """Take one token and return the seconds to wait before the call may be made."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def give_back(self) -> None:
        """Return a token whose call was not made."""
        self._tokens = min(self._size, self._tokens + 1)

    async def take(self, limit: float) -> None:
        """Wait for a token for at most ``limit`` seconds; raises QuotaExceeded past that."""
        wait = self.reserve()
        if wait > limit:
            self.give_back()
            raise QuotaExceeded(
                "The reads of Cloud Logging that a minute allows are used up.",
                fix=f"Try again in {wait:.0f} s.",
                api="logging",
                retry_after=wait,
            )
        if wait:
            await asyncio.sleep(wait)
