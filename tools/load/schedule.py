"""When requests of an open loop arrive: Poisson, constant or ramp, repeatable by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from tools.errors import UsageError

Shape = Literal["poisson", "constant", "ramp"]
SHAPES: tuple[Shape, ...] = ("poisson", "constant", "ramp")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open loop's plan. Rates are in requests a second.

    A ramp goes from ``rate`` to ``end_rate`` in ``seconds`` and stays there.
    """

    shape: Shape
    rate: float
    end_rate: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        rates = (self.rate, self.end_rate) if self.shape == "ramp" else (self.rate,)
        if any(not math.isfinite(rate) or rate < 0 for rate in rates) or max(rates) <= 0:
            raise UsageError("A rate must be a positive number of requests a second.")
        if self.shape == "ramp" and not self.seconds > 0:
            raise UsageError("A ramp needs the seconds that it takes.")

    def share(self, part: int, parts: int) -> Arrivals:
        """Return the plan of one of several processes that together keep this one."""
        del part
        return Arrivals(self.shape, self.rate / parts, self.end_rate / parts, self.seconds)

    def offsets(self, seed: int, *, part: int = 0, parts: int = 1) -> Iterator[float]:
        """Yield the arrivals of one part in seconds after the start, rising, without end.

        Parts of a constant or ramp plan interleave; parts of a Poisson plan are independent
        streams, whose superposition is the Poisson process of the whole rate.
        """
        match self.shape:
            case "poisson":
                # Its own stream: the seed of a process's prompts stays another one.
                random = Random(f"arrivals {seed} {part}")  # noqa: S311 - not for secrets
                now = 0.0
                while True:
                    now += random.expovariate(self.rate / parts)
                    yield now
            case "constant":
                count = part
                while True:
                    yield count / self.rate
                    count += parts
            case "ramp":
                count = part
                while True:
                    yield self._ramp_time(count)
                    count += parts

    def _ramp_time(self, count: int) -> float:
        """Return when the arrival with this number is due.

        Arrivals until t are r0 t + (r1 - r0) t² / 2T while the ramp lasts; solved for t.
        """
        start, end, length = self.rate, self.end_rate, self.seconds
        whole = (start + end) / 2 * length
        if count >= whole:
            return length + (count - whole) / end if end else math.inf
        slope = (end - start) / length
        if abs(slope) < 1e-12:
            return count / start
        # The form without cancellation for a small slope.
        root = math.sqrt(max(start * start + 2 * slope * count, 0.0))
        return 2 * count / (start + root) if start + root else 0.0
