"""The patterns that logs have shown before, for each service: what is novel is not among them."""

from __future__ import annotations

import json
from typing import Any

from agent.database import Row, StateFile
from agent.storable import storable_text
from tools.errors import UsageError
from tools.logs.canonical import canonical_text
from tools.logs.pattern_report import PatternReport


class SeenPatterns:
    """The history of mined patterns in one state.db."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def known(self, service: str, *, before: str = "", source: str = "") -> frozenset[str]:
        """Return the ids seen of a service before a time of its log, members included.

        The same log mined twice must say the same twice: what was first seen in it is not known.
        A log without times is told by its ``source``.
        """
        rows = self._file.rows(
            "SELECT pattern, members FROM seen_patterns WHERE service = ?"
            " AND CASE WHEN ? <> '' AND first <> '' THEN first < ? ELSE source <> ? END",
            service,
            before,
            before,
            source,
        )
        return frozenset(
            one for row in rows for one in (row["pattern"], *json.loads(row["members"] or "[]"))
        )

    def record(self, service: str, report: PatternReport, *, source: str = "") -> int:
        """Remember the patterns of a report; return how many were new to the service."""
        new = 0
        with self._file.write():
            for pattern in report.patterns:
                first = pattern.first.isoformat() if pattern.first else ""
                last = pattern.last.isoformat() if pattern.last else ""
                new += self._file.execute(
                    "INSERT OR IGNORE INTO seen_patterns (service, pattern, template, severity,"
                    " members, examples, count, first, last, source, seen)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    service,
                    pattern.id,
                    storable_text(canonical_text(pattern.template)),
                    int(pattern.severity),
                    json.dumps(list(pattern.members)),
                    json.dumps(
                        [
                            {"ref": one.ref, "text": storable_text(canonical_text(one.text))}
                            for one in pattern.examples
                        ]
                    ),
                    pattern.count,
                    first,
                    last,
                    source,
                    self._file.now(),
                )
                self._file.execute(
                    "UPDATE seen_patterns SET count = ?, members = ?, seen = ?,"
                    " first = CASE WHEN first = '' OR (? <> '' AND ? < first) THEN ?"
                    " ELSE first END,"
                    " last = max(last, ?) WHERE service = ? AND pattern = ?",
                    pattern.count,
                    json.dumps(list(pattern.members)),
                    self._file.now(),
                    first,
                    first,
                    first,
                    last,
                    service,
                    pattern.id,
                )
        return new

    def get(self, pattern: str) -> dict[str, Any]:
        """Return the pattern whose id begins so, as ``case_from_pattern`` takes it.

        Raises UsageError unless there is just one.
        """
        rows: list[Row] = self._file.rows(
            "SELECT service, pattern AS id, template, severity, examples, count, first, last"
            " FROM seen_patterns WHERE pattern >= ?1 AND pattern < ?1 || 'g'"
            " ORDER BY seen DESC LIMIT 20",
            pattern,
        )
        if not pattern or len({row["id"] for row in rows}) != 1:
            raise UsageError(
                f"No single pattern that was seen has an id that begins with {pattern!r}.",
                fix="`gemma-sre logs patterns FILE` shows and remembers them.",
            )
        return {**rows[0], "examples": json.loads(rows[0]["examples"] or "[]")}
