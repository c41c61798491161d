"""What is remembered in state.db: sessions, turns, tool calls, evidence, incidents, the audit log.

Everything that a turn writes at its end lands in one transaction, keyed by the turn, so that a
node that runs again after a kill writes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.approvals_of_runbooks import Approvals
from agent.audit import Audit
from agent.database import Row, StateFile
from agent.incidents import JOIN_WINDOW, Incidents
from agent.seen_patterns import SeenPatterns
from agent.sessions import CONTENT_LIMIT, RESUME_WINDOW, Sessions
from agent.signature import fingerprint_of
from agent.storable import storable_report
from tools.config import utc_now

__all__ = ["CONTENT_LIMIT", "JOIN_WINDOW", "RESUME_WINDOW", "Memory", "Row", "fingerprint_of"]


class Memory:
    """state.db, opened; one instance a process, used from one thread.

    ``sessions``, ``incidents`` and ``audit`` hold what each is about; the methods here are those
    that a turn needs.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.file = StateFile(path, clock)
        self.path = path
        self.db = self.file.db
        self.notice = self.file.notice
        self.sessions = Sessions(self.file)
        self.incidents = Incidents(self.file)
        self.audit = Audit(self.file)
        self.approvals = Approvals(self.file, self.audit)
        self.patterns = SeenPatterns(self.file)

    @classmethod
    def open(cls, path: Path) -> Memory:
        """Open ``path``, migrating it; see ``open_database`` for what is refused."""
        return cls(path)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    # -- sessions and turns

    def start_session(self, title: str = "") -> str:
        """Create a session and return its id."""
        return self.sessions.start(title)

    def has_session(self, session: str) -> bool:
        """Return whether the session exists."""
        return self.sessions.exists(session)

    def start_turn(self, session: str, kind: str, question: str, request: Mapping[str, Any]) -> str:
        """Write that a turn begins, before anything runs; return its id."""
        return self.sessions.start_turn(session, kind, question, request)

    def unfinished_turns(self, request: Mapping[str, Any]) -> list[Row]:
        """Return turns with this very request that were begun lately and never ended."""
        return self.sessions.unfinished(request)

    def record_call(self, turn: str, call: Mapping[str, Any]) -> None:
        """Keep one tool call whole, and audit it; the same call of a turn replaces itself."""
        with self.file.write():
            self.sessions.keep_call(turn, call)
            self.audit.append(
                "tool_call",
                {
                    "turn": turn,
                    "call": call["call"],
                    "name": call["name"],
                    "arguments": call.get("arguments", {}),
                    "seconds": round(float(call.get("seconds", 0.0)), 3),
                    "characters": len(str(call.get("content", ""))),
                },
                result=str(call["state"]),
            )
        self.audit.publish()

    def call_output(self, turn: str, call: str) -> str:
        """Return the whole output of one tool call of a turn, empty if there is none."""
        rows = self.file.rows(
            "SELECT content FROM tool_calls WHERE turn = ? AND call = ?", turn, call
        )
        return str(rows[0]["content"]) if rows else ""

    def finish_turn(
        self,
        turn: str,
        state: str,
        *,
        answer: str = "",
        author: str = "",
        report: Mapping[str, Any] | None = None,
        record_incident: bool = False,
        runbooks: Mapping[str, str] | None = None,
    ) -> str | None:
        """End a turn; with a report, keep its evidence and its incident. Return the incident's id.

        ``runbooks`` are the digests of the runbooks that the report shows, by id. Calling it
        again for the same turn changes nothing but the text, and counts nothing twice.
        """
        incident: str | None = None
        kept = None if report is None else storable_report(report)
        with self.file.write():
            if kept is not None:
                if record_incident and kept["causes"]:
                    incident = self.incidents.join(turn, kept, runbooks or {})
                    kept["incident"] = incident
                self.sessions.keep_evidence(turn, kept["evidence"])
            self.sessions.end_turn(turn, state, answer, author, kept)
        return incident

    def settle_turn(self, turn: str) -> None:
        """Note that a recorded turn was also shown: it will not be resumed."""
        self.sessions.settle(turn)

    def recorded_turn(self, turn: str) -> Row | None:
        """Return a turn that was recorded and perhaps never shown, None if it is not one."""
        return self.sessions.recorded(turn)

    def last_report(self, session: str) -> dict[str, Any] | None:
        """Return the newest diagnosis of a session."""
        return self.sessions.last_report(session)

    def turns(self, session: str, limit: int = 50) -> list[Row]:
        """Return the turns of a session, oldest first."""
        return self.sessions.turns(session, limit)

    # -- incidents

    def list_incidents(self, limit: int = 50, status: str = "") -> list[Row]:
        """Return incidents, the newest first, without their reports."""
        return self.incidents.recent(limit, status)

    def get_incident(self, incident: str) -> Row:
        """Return one incident with all that belongs to it; see ``Incidents.get``."""
        return self.incidents.get(incident)

    def similar(self, fingerprint: str, service: str, limit: int = 3) -> list[Row]:
        """Return earlier incidents with this fingerprint, those of the same service first."""
        return self.incidents.exact(fingerprint, service, limit)
