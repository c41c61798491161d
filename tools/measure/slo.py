"""Service-level objectives: what share was good, how fast the error budget burns, what is left.

A burn rate of 1 uses the budget up exactly by the end of the period. The windows of one hour, six
hours and three days and their alerting rates are those of the Site Reliability Workbook (Google,
2018), chapter 5, table 5-8, for a period of 30 days: 2 % of the budget in an hour is a rate of
14.4, 5 % in six hours 6, 10 % in three days 1.
"""

from __future__ import annotations

import math
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tools.errors import ConfigurationError
from tools.measure.windows import good_count
from tools.vllm.metrics import EndpointMetrics

HOUR = 3600.0
DAY = 24 * HOUR
# (seconds of the window, alerting burn rate, what an alert asks for)
BURN_WINDOWS: tuple[tuple[float, float, str], ...] = (
    (HOUR, 14.4, "page"),
    (6 * HOUR, 6.0, "page"),
    (3 * DAY, 1.0, "ticket"),
)
Kind = Literal["ttft", "tpot", "e2e", "availability"]
_KINDS: tuple[Kind, ...] = ("ttft", "tpot", "e2e", "availability")


@dataclass(frozen=True, slots=True)
class Objective:
    """So large a share of requests must be good. ``threshold`` is in seconds, per request.

    ``availability`` has no threshold: good is what neither failed nor was refused.
    """

    name: str
    kind: Kind
    target: float
    threshold: float | None = None
    days: float = 30.0

    @property
    def budget(self) -> float:
        """Return the share of requests that may be bad."""
        return 1 - self.target


@dataclass(frozen=True, slots=True)
class Count:
    """Requests since the server's start, at a time in seconds of the Unix epoch."""

    time: float
    good: float
    total: float


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast the budget burned in a window; ``rate`` None where there was no request.

    ``covered`` is the seconds of the window that were observed.
    """

    window: float
    covered: float
    total: float
    bad: float
    rate: float | None
    alert_at: float
    asks: str

    @property
    def alerting(self) -> bool:
        """Tell whether the rate is one to act on."""
        return self.rate is not None and self.rate >= self.alert_at


@dataclass(frozen=True, slots=True)
class Standing:
    """How an objective stands: its burn rates, and the budget left of the period (1 is all)."""

    objective: Objective
    burns: tuple[Burn, ...]
    left: float | None
    covered: float  # seconds of the period that were observed

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = asdict(self)
        for row, burn in zip(told["burns"], self.burns, strict=True):
            row["alerting"] = burn.alerting
        return told


def read_objectives(path: Path) -> tuple[Objective, ...]:
    """Return the objectives of an ``slo.toml``; raises ConfigurationError, naming the row.

    Each ``[[objective]]`` has ``name``, ``kind`` (ttft, tpot, e2e, availability), ``target``
    (0.99), for all but availability ``threshold_s``, and optionally ``days``.
    """
    try:
        rows = tomllib.loads(path.read_text("utf-8")).get("objective", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}.") from error
    return tuple(_objective(row, number, path) for number, row in enumerate(rows, 1))


def _objective(row: Any, number: int, path: Path) -> Objective:
    where = f"{path}, objective {number}"
    if not isinstance(row, dict):
        raise ConfigurationError(f"{where} is not a table.")
    unknown = set(row) - {"name", "kind", "target", "threshold_s", "days"}
    if unknown:
        raise ConfigurationError(f"{where} has an unknown key: {sorted(unknown)[0]}.")
    kind = row.get("kind")
    target, threshold = _number(row.get("target")), _number(row.get("threshold_s"))
    days = _number(row.get("days", 30.0))
    if kind not in _KINDS:
        raise ConfigurationError(f"{where} needs a kind: one of {', '.join(_KINDS)}.")
    if target is None or not 0 < target < 1:
        raise ConfigurationError(f"{where} needs a target between 0 and 1, such as 0.99.")
    if kind != "availability" and (threshold is None or threshold <= 0):
        raise ConfigurationError(f"{where} needs threshold_s, in seconds.")
    if days is None or days <= 0:
        raise ConfigurationError(f"{where} has days that are no positive number.")
    limit = None if kind == "availability" else threshold
    return Objective(str(row.get("name") or kind), kind, target, limit, days)


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


def count_of(objective: Objective, metrics: EndpointMetrics, time: float) -> Count | None:
    """Return the objective's count at a reading; None where the server does not tell."""
    if objective.kind == "availability":
        if not metrics.finished:
            return None
        rejected = metrics.rejected or 0.0
        total = math.fsum(metrics.finished.values()) + rejected
        return Count(time, total - metrics.finished.get("error", 0.0) - rejected, total)
    histogram = getattr(metrics, objective.kind)
    if histogram is None or objective.threshold is None:
        return None
    return Count(time, good_count(histogram, objective.threshold), histogram.count)


def standing(objective: Objective, counts: Sequence[Count], now: float) -> Standing:
    """Return how an objective stands; ``counts`` are readings in the order of time."""
    burns = tuple(
        burn(objective, counts, now, seconds, alert_at, asks)
        for seconds, alert_at, asks in BURN_WINDOWS
    )
    period = burn(objective, counts, now, objective.days * DAY, 1.0, "")
    left = None
    if period.total:
        left = 1 - period.bad / (objective.budget * period.total)
    return Standing(objective, burns, left, period.covered)


def burn(
    objective: Objective,
    counts: Sequence[Count],
    now: float,
    seconds: float,
    alert_at: float = 1.0,
    asks: str = "",
) -> Burn:
    """Return the burn rate of the last ``seconds``.

    The window begins at the last reading that is not inside it, so it is observed whole where
    there is one. A count that fell means a restart: what came after it is added, and what was
    counted between the last reading and the restart is lost.
    """
    start = now - seconds
    first = max(0, bisect_right([count.time for count in counts], start) - 1)
    inside = [count for count in counts[first:] if count.time <= now]
    good = total = 0.0
    for before, after in pairwise(inside):
        if after.total < before.total or after.good < before.good:
            good, total = good + after.good, total + after.total
        else:
            good, total = good + after.good - before.good, total + after.total - before.total
    covered = min(seconds, inside[-1].time - inside[0].time) if len(inside) > 1 else 0.0
    bad = max(0.0, total - good)
    rate = bad / total / objective.budget if total > 0 else None
    return Burn(seconds, covered, total, bad, rate, alert_at, asks)
