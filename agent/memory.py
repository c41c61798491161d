"""What is remembered in state.db: sessions, turns, tool calls, evidence, incidents.

Everything that a turn writes at its end lands in one transaction, keyed by the turn, so that a
node that runs again after a kill writes nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.database import open_database, transaction
from tools.errors import UsageError

# The same fingerprint seen again within this time joins the open incident.
JOIN_WINDOW = timedelta(hours=24)
# A turn that a killed process left is resumed when the same question comes within this time.
RESUME_WINDOW = timedelta(minutes=30)
# Whole tool output kept per call, in characters; more is cut, and says so.
CONTENT_LIMIT = 1_000_000

Row = dict[str, Any]


class Memory:
    """state.db, opened; one instance a process, used from one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db, self.notice = open_database(path)

    @classmethod
    def open(cls, path: Path) -> Memory:
        """Open ``path``, migrating it; see ``open_database`` for what is refused."""
        return cls(path)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    # -- sessions and turns

    def start_session(self, title: str = "") -> str:
        """Create a session and return its id."""
        session = f"s-{secrets.token_hex(4)}"
        now = _now()
        with transaction(self.db, self.path):
            self.db.conn.execute(
                "INSERT INTO sessions (id, title, created, used) VALUES (?, ?, ?, ?)",
                (session, title, now, now),
            )
        return session

    def has_session(self, session: str) -> bool:
        """Return whether the session exists."""
        return bool(self._rows("SELECT 1 FROM sessions WHERE id = ?", session))

    def start_turn(self, session: str, kind: str, question: str, request: Mapping[str, Any]) -> str:
        """Write that a turn begins, before anything runs; return its id."""
        turn = f"t-{secrets.token_hex(4)}"
        text = json.dumps(request, sort_keys=True)
        with transaction(self.db, self.path):
            self.db.conn.execute(
                "INSERT INTO turns (id, session, kind, question, request, request_hash, state,"
                " started) VALUES (?, ?, ?, ?, ?, ?, 'running', ?)",
                (turn, session, kind, question, text, _hash(text), _now()),
            )
            self.db.conn.execute("UPDATE sessions SET used = ? WHERE id = ?", (_now(), session))
        return turn

    def unfinished_turns(self, request: Mapping[str, Any]) -> list[Row]:
        """Return turns with this very request that were begun lately and never ended."""
        since = (datetime.now(UTC) - RESUME_WINDOW).isoformat()
        return self._rows(
            "SELECT id, session, started FROM turns"
            " WHERE state IN ('running', 'recorded') AND request_hash = ?"
            " AND started >= ? ORDER BY started DESC",
            _hash(json.dumps(request, sort_keys=True)),
            since,
        )

    def record_call(self, turn: str, call: Mapping[str, Any]) -> None:
        """Keep one tool call whole; the same call of the same turn replaces itself."""
        content = str(call.get("content", ""))
        if len(content) > CONTENT_LIMIT:
            content = content[:CONTENT_LIMIT] + f"\n[cut: {len(content)} characters in all]"
        with transaction(self.db, self.path):
            self.db.conn.execute(
                "INSERT OR REPLACE INTO tool_calls (turn, call, name, arguments, state, seconds,"
                " summary, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn,
                    call["call"],
                    call["name"],
                    json.dumps(call.get("arguments", {}), sort_keys=True, default=str),
                    call["state"],
                    float(call.get("seconds", 0.0)),
                    call.get("summary", ""),
                    content,
                ),
            )

    def finish_turn(
        self,
        turn: str,
        state: str,
        *,
        answer: str = "",
        author: str = "",
        report: Mapping[str, Any] | None = None,
        record_incident: bool = False,
    ) -> str | None:
        """End a turn; with a report, keep its evidence and its incident. Return the incident's id.

        Calling it again for the same turn changes nothing but the text, and counts nothing twice.
        """
        incident: str | None = None
        with transaction(self.db, self.path):
            if report is not None:
                if record_incident and report["causes"]:
                    incident = self._join_incident(turn, report)
                    report = {**report, "incident": incident}
                self._keep_evidence(turn, report["evidence"])
            self.db.conn.execute(
                "UPDATE turns SET state = ?, finished = ?, answer = ?, author = ?, report = ?,"
                " stats = ? WHERE id = ?",
                (
                    state,
                    _now(),
                    answer,
                    author,
                    None if report is None else json.dumps(report),
                    None if report is None else json.dumps(report.get("stats", {})),
                    turn,
                ),
            )
        return incident

    def settle_turn(self, turn: str) -> None:
        """Note that a recorded turn was also shown: it will not be resumed."""
        with transaction(self.db, self.path):
            self.db.conn.execute(
                "UPDATE turns SET state = 'finished' WHERE id = ? AND state = 'recorded'", (turn,)
            )

    def recorded_turn(self, turn: str) -> Row | None:
        """Return a turn that was recorded and perhaps never shown, None if it is not one."""
        rows = self._rows(
            "SELECT answer, author, report FROM turns WHERE id = ? AND state = 'recorded'", turn
        )
        return rows[0] if rows else None

    def last_report(self, session: str) -> dict[str, Any] | None:
        """Return the newest diagnosis of a session."""
        rows = self._rows(
            "SELECT report FROM turns WHERE session = ? AND report IS NOT NULL"
            " ORDER BY started DESC LIMIT 1",
            session,
        )
        return json.loads(rows[0]["report"]) if rows else None

    def turns(self, session: str, limit: int = 50) -> list[Row]:
        """Return the turns of a session, oldest first."""
        return self._rows(
            "SELECT * FROM (SELECT * FROM turns WHERE session = ? ORDER BY started DESC LIMIT ?)"
            " ORDER BY started",
            session,
            limit,
        )

    # -- incidents

    def list_incidents(self, limit: int = 50, status: str = "") -> list[Row]:
        """Return incidents, the newest first, without their reports."""
        rows = self._rows(
            "SELECT id, fingerprint, status, service, verdict, title, opened, last_seen, count,"
            " causes, resolution FROM incidents WHERE ? IN ('', status)"
            " ORDER BY last_seen DESC LIMIT ?",
            status,
            limit,
        )
        return [_incident(row) for row in rows]

    def get_incident(self, incident: str) -> Row:
        """Return one incident with its report and its turns; an unambiguous prefix is enough.

        Raises UsageError when there is none, or more than one.
        """
        rows = self._rows(
            "SELECT * FROM incidents WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id", incident
        )
        rows = [row for row in rows if row["id"] == incident] or rows
        if len(rows) != 1 or not incident:
            found = ", ".join(row["id"] for row in rows[:5]) or "none"
            raise UsageError(
                f"No single incident is named {incident!r} (found: {found}).",
                fix="`gemma-sre incident list` shows them.",
            )
        row = _incident(rows[0])
        row["turns"] = self._rows(
            "SELECT t.id, t.session, t.started, t.finished FROM incident_turns i"
            " JOIN turns t ON t.id = i.turn WHERE i.incident = ? ORDER BY t.started",
            row["id"],
        )
        return row

    def similar(self, fingerprint: str, service: str, limit: int = 3) -> list[Row]:
        """Return earlier incidents with this fingerprint, those of the same service first."""
        rows = self._rows(
            "SELECT id, service, verdict, title, opened, last_seen, count, status, causes,"
            " resolution FROM incidents WHERE fingerprint = ?"
            " ORDER BY service = ? DESC, last_seen DESC LIMIT ?",
            fingerprint,
            service,
            limit,
        )
        return [_incident(row) for row in rows]

    def _join_incident(self, turn: str, report: Mapping[str, Any]) -> str:
        known = self._rows("SELECT incident FROM incident_turns WHERE turn = ?", turn)
        if known:
            return str(known[0]["incident"])
        fingerprint = fingerprint_of(report)
        service = str(report["target"].get("service", ""))
        now = _now()
        since = (datetime.now(UTC) - JOIN_WINDOW).isoformat()
        open_ones = self._rows(
            "SELECT id FROM incidents WHERE fingerprint = ? AND service = ? AND status = 'open'"
            " AND last_seen >= ? ORDER BY last_seen DESC LIMIT 1",
            fingerprint,
            service,
            since,
        )
        title = report["causes"][0]["title"]
        causes = json.dumps([cause["id"] for cause in report["causes"]])
        if open_ones:
            incident = str(open_ones[0]["id"])
            self.db.conn.execute(
                "UPDATE incidents SET last_seen = ?, count = count + 1, verdict = ?, title = ?,"
                " causes = ?, report = ? WHERE id = ?",
                (now, report["verdict"], title, causes, json.dumps(report), incident),
            )
        else:
            incident = f"i-{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}"
            self.db.conn.execute(
                "INSERT INTO incidents (id, fingerprint, status, service, verdict, title, opened,"
                " last_seen, count, causes, report, resolution)"
                " VALUES (?, ?, 'open', ?, ?, ?, ?, ?, 1, ?, ?, '')",
                (
                    incident,
                    fingerprint,
                    service,
                    report["verdict"],
                    title,
                    now,
                    now,
                    causes,
                    json.dumps(report),
                ),
            )
        self.db.conn.execute(
            "INSERT INTO incident_turns (turn, incident) VALUES (?, ?)", (turn, incident)
        )
        return incident

    def _keep_evidence(self, turn: str, evidence: Sequence[Mapping[str, Any]]) -> None:
        self.db.conn.executemany(
            "INSERT OR REPLACE INTO evidence (turn, id, source, ref, time, quote)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [(turn, e["id"], e["source"], e["ref"], e["time"], e["quote"]) for e in evidence],
        )

    def _rows(self, sql: str, *values: Any) -> list[Row]:
        cursor = self.db.conn.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fingerprint_of(report: Mapping[str, Any]) -> str:
    """Return the signature of a diagnosis: its causes, whatever their order."""
    return _hash("|".join(sorted(cause["id"] for cause in report["causes"])))[:12]


def _incident(row: Row) -> Row:
    row["causes"] = json.loads(row["causes"] or "[]")
    if row.get("report"):
        row["report"] = json.loads(row["report"])
    return row


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat()
