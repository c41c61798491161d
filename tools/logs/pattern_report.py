"""What pattern mining found: the patterns, ranked, and what was left out, so that counts add up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tools.domain import Severity
from tools.logs.masking import PLACEHOLDER, clean

MAX_VALUE = 120  # characters shown of a value; the examples have it whole
TOP_VALUES = 3
_SPACE = re.compile(" +")


@dataclass(frozen=True, slots=True)
class Example:
    """A line of a pattern, verbatim, and where it was read."""

    ref: str
    text: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """Lines that say the same thing.

    ``variables`` has, for each ``<*>`` of the template in order, up to three values with their
    counts among the ``sampled`` lines, the most frequent first. ``burst`` is the count in the
    busiest 64th of the window over the mean of all of them (1.0 for a single line). ``lift`` is
    (count + 1) / (count in the baseline + 1), None without a baseline. ``members`` are the ids
    of the templates that were merged into this one, its own id alone where none were.
    """

    id: str
    template: str
    count: int
    first: datetime | None = None
    last: datetime | None = None
    severity: Severity = Severity.DEFAULT
    variables: tuple[tuple[tuple[str, int], ...], ...] = ()
    examples: tuple[Example, ...] = ()
    instances: int = 0
    revisions: int = 0
    burst: float = 1.0
    lift: float | None = None
    novel: bool = False
    score: float = 0.0
    sampled: int = 0
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatternReport:
    """The patterns, highest score first; their counts plus ``other`` are ``total``.

    ``counts`` has every template's count by id, listed or not: what a later report needs of its
    baseline. ``assignments``, if asked for, has the pattern id of every line in input order,
    listed or not; lines past the limit on templates have the id "other".
    """

    patterns: tuple[Pattern, ...]
    other: int
    total: int
    other_patterns: int = 0
    first: datetime | None = None
    last: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    assignments: tuple[str, ...] = field(default=(), repr=False)

    def to_json(self, *, counts: bool = False, assignments: bool = False) -> dict[str, Any]:
        """Return the report as what ``json.dumps`` takes; the long parts only when asked for."""
        out: dict[str, Any] = {
            "total": self.total,
            "other": self.other,
            "other_patterns": self.other_patterns,
            "first": _time(self.first),
            "last": _time(self.last),
            "patterns": [_pattern_json(pattern) for pattern in self.patterns],
        }
        if counts:
            out["counts"] = dict(self.counts)
        if assignments:
            out["assignments"] = list(self.assignments)
        return out


def _pattern_json(pattern: Pattern) -> dict[str, Any]:
    return {
        "id": pattern.id,
        "template": pattern.template,
        "count": pattern.count,
        "first": _time(pattern.first),
        "last": _time(pattern.last),
        "severity": pattern.severity.name,
        "variables": [
            [{"value": value, "count": count} for value, count in values]
            for values in pattern.variables
        ],
        "sampled": pattern.sampled,
        "examples": [{"ref": example.ref, "text": example.text} for example in pattern.examples],
        "instances": pattern.instances,
        "revisions": pattern.revisions,
        "burst": round(pattern.burst, 2),
        "lift": None if pattern.lift is None else round(pattern.lift, 3),
        "novel": pattern.novel,
        "score": round(pattern.score, 3),
        "members": list(pattern.members),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def variable_values(template: str, text: str) -> list[str] | None:
    """Return what stands in a line for each placeholder; None where the line is not of it.

    Each placeholder takes as little as it can: plain searches, in time linear in the line.
    """
    line = _SPACE.sub(" ", clean(text)).strip(" ")
    head, *pieces = template.split(PLACEHOLDER)
    if not line.startswith(head):
        return None
    at, values = len(head), []
    for index, piece in enumerate(pieces):
        if index == len(pieces) - 1:
            found = len(line) - len(piece)
            if found < at or not line.endswith(piece):
                return None
        else:
            found = line.find(piece, at)
            if found < 0:
                return None
        values.append(line[at:found])
        at = found + len(piece)
    return values


def top_values(
    template: str, texts: Sequence[str]
) -> tuple[tuple[tuple[tuple[str, int], ...], ...], int]:
    """Return the top values of each placeholder, and the number of lines they were read from."""
    counters = [Counter[str]() for _ in range(template.count(PLACEHOLDER))]
    read = 0
    for text in texts:
        values = variable_values(template, text)
        if values is not None:
            read += 1
            for counter, value in zip(counters, values, strict=True):
                counter[value.strip()[:MAX_VALUE]] += 1
    return (
        tuple(
            # Ties by the value itself, so that the order of the lines does not show
            tuple(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:TOP_VALUES])
            for counter in counters
        ),
        read,
    )
