"""Observed starts in state.db: how long each phase of a cold start took, by service."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from agent.database import StateFile
from tools.sizing.starts import ObservedStart

# An estimate rests on the newest starts: an older image or volume says little about the next.
HISTORY = 20
# Kept for each service; older ones go when a new one comes.
KEPT = 200


class Starts:
    """The table ``starts`` of an open state.db."""

    def __init__(self, file: StateFile) -> None:
        self.file = file

    def keep(self, starts: Iterable[ObservedStart]) -> int:
        """Keep starts, each once however often its log is read; return how many were new."""
        new = 0
        with self.file.write():
            for start in starts:
                new += self.file.execute(
                    "INSERT OR IGNORE INTO starts (id, service, revision, instance, began, model,"
                    " version, ready, phases) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    start.id,
                    start.service,
                    start.revision,
                    start.instance,
                    start.began.astimezone(UTC).isoformat(),
                    start.model,
                    start.version,
                    int(start.ready),
                    json.dumps(dict(start.phases)),
                )
                self.file.execute(
                    "DELETE FROM starts WHERE service = ? AND id NOT IN (SELECT id FROM starts"
                    " WHERE service = ? ORDER BY began DESC LIMIT ?)",
                    start.service,
                    start.service,
                    KEPT,
                )
        return new

    def of(self, service: str, limit: int = HISTORY) -> tuple[ObservedStart, ...]:
        """Return a service's starts, newest first."""
        rows = self.file.rows(
            "SELECT * FROM starts WHERE service = ? ORDER BY began DESC LIMIT ?", service, limit
        )
        return tuple(
            ObservedStart(
                began=datetime.fromisoformat(row["began"]),
                service=row["service"],
                revision=row["revision"],
                instance=row["instance"],
                model=row["model"],
                version=row["version"],
                ready=bool(row["ready"]),
                phases=json.loads(row["phases"]),
            )
            for row in rows
        )
