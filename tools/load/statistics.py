"""Distributions and intervals of measured values. Times are in milliseconds here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.floating[Any]]

RESAMPLES = 1000
MAX_SAMPLE = 5000  # values; a larger sample is thinned before it is resampled, at random


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is told of many values; quantiles are interpolated linearly between neighbours.

    Of another program's results some figures may not be known; they are NaN.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Distribution:
        """Return the distribution of ``to_json``; a figure that was not told is NaN."""
        known: dict[str, Any] = {k: math.nan if v is None else v for k, v in told.items()}
        return cls(**known)


def describe(values: Values) -> Distribution | None:
    """Return the distribution, None of nothing."""
    import numpy as np

    if not len(values):
        return None
    p50, p90, p95, p99 = np.quantile(values, [0.5, 0.9, 0.95, 0.99])
    return Distribution(
        count=len(values),
        mean=float(values.mean()),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        low=float(values.min()),
        high=float(values.max()),
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Tell whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def difference(
    first: Values, second: Values, of: Callable[[Values], Values], *, seed: int = 0
) -> Interval | None:
    """Return how much ``of(second)`` exceeds ``of(first)``, with a percentile-bootstrap interval.

    ``of`` reduces the last axis. Requests are resampled with replacement (Efron 1979); the 2.5 %
    and 97.5 % quantiles of 1,000 resamples are the interval. None with fewer than two values.
    """
    import numpy as np

    if len(first) < 2 or len(second) < 2:
        return None
    random = np.random.default_rng(seed)
    value = float(of(second) - of(first))
    found = []
    for values in (first, second):
        thin = values
        if len(values) > MAX_SAMPLE:
            thin = random.choice(values, MAX_SAMPLE, replace=False)
        rows = max(1, min(RESAMPLES, 4_000_000 // len(thin)))
        parts = []
        for start in range(0, RESAMPLES, rows):
            size = (min(rows, RESAMPLES - start), len(thin))
            parts.append(of(thin[random.integers(0, len(thin), size=size)]))
        found.append(np.concatenate(parts))
    low, high = np.quantile(found[1] - found[0], [0.025, 0.975])
    return Interval(value, float(low), float(high))
