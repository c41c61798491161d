"""Judge live figures by the thresholds of one data file; what is not known is said, not guessed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tools.measure.windows import MetricsWindow

State = Literal["ok", "found", "not yet", "unknown"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound of one figure; it is a finding once broken for ``for_s`` seconds on end."""

    id: str
    figure: str
    severity: str
    says: str
    source: str
    above: float | None = None
    below: float | None = None
    objective: str = ""  # the bound is that objective's, where there is one
    for_s: float = 0.0

    def broken(self, value: float) -> bool:
        """Tell whether a value breaks the bound."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a figure means now."""

    id: str
    state: State
    figure: str
    value: float | None
    severity: str
    says: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@cache
def thresholds() -> tuple[Threshold, ...]:
    """Return the thresholds that ship."""
    text = Path(__file__).with_name("thresholds.toml").read_text("utf-8")
    return tuple(Threshold(**row) for row in tomllib.loads(text)["threshold"])


class Watch:
    """Judge one window after the other, and remember since when a bound is broken."""

    def __init__(
        self,
        rules: Sequence[Threshold] | None = None,
        objectives: Mapping[str, float] | None = None,
    ) -> None:
        self._rules = tuple(rules if rules is not None else thresholds())
        self._objectives = objectives or {}
        self._since: dict[str, float] = {}
        self._watched = 0.0

    def judge(self, seen: MetricsWindow) -> tuple[Verdict, ...]:
        """Return the verdicts after a further window.

        A gauge is read at the end of a window, so one window proves it for no time at all; the
        second reading in a row proves it for the time between them.
        """
        found = []
        for rule in self._rules:
            bound = self._bound(rule)
            if bound is None:
                continue
            value = getattr(seen, rule.figure)
            if value is None:
                self._since.pop(rule.id, None)
                found.append(_verdict(bound, "unknown", None, "the server does not tell"))
                continue
            if not bound.broken(value):
                self._since.pop(rule.id, None)
                found.append(_verdict(bound, "ok", value, ""))
                continue
            now = self._watched + seen.seconds
            since = self._since.setdefault(rule.id, now)
            if now - since >= bound.for_s:
                found.append(_verdict(bound, "found", value, bound.says))
            else:
                words = f"for {now - since:.0f} s; a finding after {bound.for_s:g} s"
                found.append(_verdict(bound, "not yet", value, words))
        self._watched += seen.seconds
        return tuple(found)

    def _bound(self, rule: Threshold) -> Threshold | None:
        if not rule.objective:
            return rule
        given = self._objectives.get(rule.objective)
        if given is None:
            return None
        return Threshold(**{**asdict(rule), "above": given})


def _verdict(rule: Threshold, state: State, value: float | None, says: str) -> Verdict:
    return Verdict(rule.id, state, rule.figure, value, rule.severity, says)
