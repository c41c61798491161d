"""Sessions and their turns: begun before anything runs, ended once, listed, named, deleted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

from agent.database import Row, StateFile
from agent.storable import storable, storable_answer, storable_text
from tools.errors import UsageError

# A turn that a killed process left is resumed when the same question comes within this time.
RESUME_WINDOW = timedelta(minutes=30)
# Whole tool output kept per call, in characters; more is cut, and says so.
CONTENT_LIMIT = 1_000_000
TITLE_LIMIT = 120


class Sessions:
    """The sessions of one state.db."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def start(self, title: str = "") -> str:
        """Create a session and return its id."""
        now = self._file.now()
        with self._file.write():
            session = self._file.unused_id("s-", 4, "SELECT 1 FROM sessions WHERE id = ?")
            self._file.execute(
                "INSERT INTO sessions (id, title, created, used) VALUES (?, ?, ?, ?)",
                session,
                storable_text(title)[:TITLE_LIMIT],
                now,
                now,
            )
        return session

    def exists(self, session: str) -> bool:
        """Return whether the session exists."""
        return bool(self._file.rows("SELECT 1 FROM sessions WHERE id = ?", session))

    def recent(self, limit: int = 50) -> list[Row]:
        """Return sessions, the last used first, each with its number of turns and a title.

        A session that nobody named is called after its first question.
        """
        return self._file.rows(
            "SELECT s.id, coalesce(nullif(s.title, ''), (SELECT question FROM turns WHERE"
            " session = s.id ORDER BY started LIMIT 1), '') AS title, s.created, s.used,"
            " (SELECT count(*) FROM turns WHERE session = s.id) AS turns FROM sessions s"
            " ORDER BY s.used DESC LIMIT ?",
            limit,
        )

    def get(self, session: str) -> Row:
        """Return a session with its turns; raises UsageError when it is not one.

        An unambiguous prefix of the id, or the whole of a title, is enough.
        """
        (row,) = self._file.rows(
            "SELECT id, title, created, used FROM sessions WHERE id = ?", self.named(session)
        )
        turns = self._file.rows(
            "SELECT id, kind, question, state, started, finished, answer, author, report"
            " FROM turns WHERE session = ? ORDER BY started",
            row["id"],
        )
        row["turns"] = [{**t, "report": json.loads(t["report"] or "null")} for t in turns]
        return row

    def export(self, session: str) -> Row:
        """Return a session with its turns, and each turn with its tool calls and evidence."""
        whole = self.get(session)
        for turn in whole["turns"]:
            calls = self._file.rows(
                "SELECT call, name, arguments, state, seconds, summary, content FROM tool_calls"
                " WHERE turn = ? ORDER BY rowid",
                turn["id"],
            )
            turn["calls"] = [{**c, "arguments": json.loads(c["arguments"] or "{}")} for c in calls]
            turn["evidence"] = self._file.rows(
                "SELECT id, source, ref, time, quote FROM evidence WHERE turn = ? ORDER BY rowid",
                turn["id"],
            )
        return whole

    def rename(self, session: str, title: str) -> Row:
        """Give a session a title and return it."""
        found, name = self.named(session), " ".join(storable_text(title).split())
        if not name or len(name) > TITLE_LIMIT:
            raise UsageError(f"A session's name has 1 to {TITLE_LIMIT} characters.")
        with self._file.write():
            self._file.execute("UPDATE sessions SET title = ? WHERE id = ?", name, found)
        return self.get(found)

    def named(self, session: str) -> str:
        """Return the id that ``session`` begins or names; raises UsageError unless just one."""
        found = [
            row["id"]
            for row in self._file.rows(
                "SELECT id FROM sessions WHERE id >= ?1 AND id < ?1 || char(1114111) OR title = ?1"
                " ORDER BY id LIMIT 6",
                session,
            )
        ]
        if session and (session in found or len(found) == 1):
            return session if session in found else str(found[0])
        raise UsageError(
            f"No single session is named {session!r} (found: {', '.join(found[:5]) or 'none'}).",
            fix="`gemma-sre session list` shows them.",
        )

    def delete(self, session: str) -> list[str]:
        """Forget a session and its turns, inside a transaction; return the turns' ids.

        The incidents that its diagnoses opened stay, with their reports.
        """
        turns = [
            row["id"] for row in self._file.rows("SELECT id FROM turns WHERE session = ?", session)
        ]
        for statement in _FORGET:
            self._file.execute(statement, session)
        return turns

    # -- turns

    def start_turn(self, session: str, kind: str, question: str, request: Mapping[str, Any]) -> str:
        """Write that a turn begins, before anything runs; return its id."""
        now = self._file.now()
        with self._file.write():
            turn = self._file.unused_id("t-", 4, "SELECT 1 FROM turns WHERE id = ?")
            self._file.execute(
                "INSERT INTO turns (id, session, kind, question, request, request_hash, state,"
                " started) VALUES (?, ?, ?, ?, ?, ?, 'running', ?)",
                turn,
                session,
                kind,
                storable_text(question),
                json.dumps(storable(request), sort_keys=True),
                _request_hash(request),
                now,
            )
            self._file.execute("UPDATE sessions SET used = ? WHERE id = ?", now, session)
        return turn

    def unfinished(self, request: Mapping[str, Any]) -> list[Row]:
        """Return turns with this very request that were begun lately and never ended."""
        since = (self._file.clock().astimezone(UTC) - RESUME_WINDOW).isoformat()
        return self._file.rows(
            "SELECT id, session, started FROM turns"
            " WHERE state IN ('running', 'recorded') AND request_hash = ?"
            " AND started >= ? ORDER BY started DESC",
            _request_hash(request),
            since,
        )

    def keep_call(self, turn: str, call: Mapping[str, Any]) -> None:
        """Keep one tool call whole, inside a transaction; the same call replaces itself."""
        content = str(call.get("content", ""))
        whole = len(content)
        content = storable_text(content[:CONTENT_LIMIT])
        if whole > CONTENT_LIMIT:
            content += f"\n[cut: {whole} characters in all]"
        self._file.execute(
            "INSERT OR REPLACE INTO tool_calls (turn, call, name, arguments, state, seconds,"
            " summary, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            turn,
            call["call"],
            storable_text(str(call["name"])),
            json.dumps(storable(call.get("arguments", {})), sort_keys=True, default=str),
            call["state"],
            float(call.get("seconds", 0.0)),
            storable_text(str(call.get("summary", ""))),
            content,
        )

    def keep_evidence(self, turn: str, evidence: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a turn's report quotes, inside a transaction."""
        self._file.db.conn.executemany(
            "INSERT OR REPLACE INTO evidence (turn, id, source, ref, time, quote)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [(turn, e["id"], e["source"], e["ref"], e["time"], e["quote"]) for e in evidence],
        )

    def end_turn(
        self, turn: str, state: str, answer: str, author: str, report: Mapping[str, Any] | None
    ) -> None:
        """Write how a turn ended, inside a transaction.

        What was recorded stays: a turn that is stopped while it is shown was not stopped.
        """
        self._file.execute(
            "UPDATE turns SET state = ?, finished = ?, answer = ?, author = ?, report = ?,"
            " stats = ? WHERE id = ?"
            " AND (state NOT IN ('recorded', 'finished') OR ? IN ('recorded', 'finished'))",
            state,
            self._file.now(),
            storable_answer(answer, report),
            author,
            None if report is None else json.dumps(report),
            None if report is None else json.dumps(report.get("stats", {})),
            turn,
            state,
        )

    def settle(self, turn: str) -> None:
        """Note that a recorded turn was also shown: it will not be resumed."""
        with self._file.write():
            self._file.execute(
                "UPDATE turns SET state = 'finished' WHERE id = ? AND state = 'recorded'", turn
            )

    def recorded(self, turn: str) -> Row | None:
        """Return a turn that was recorded and perhaps never shown, None if it is not one."""
        rows = self._file.rows(
            "SELECT answer, author, report FROM turns WHERE id = ? AND state = 'recorded'", turn
        )
        return rows[0] if rows else None

    def last_report(self, session: str) -> dict[str, Any] | None:
        """Return the newest diagnosis of a session."""
        rows = self._file.rows(
            "SELECT report FROM turns WHERE session = ? AND report IS NOT NULL"
            " ORDER BY started DESC LIMIT 1",
            session,
        )
        return json.loads(rows[0]["report"]) if rows else None

    def turns(self, session: str, limit: int = 50) -> list[Row]:
        """Return the turns of a session, oldest first."""
        return self._file.rows(
            "SELECT * FROM (SELECT * FROM turns WHERE session = ? ORDER BY started DESC LIMIT ?)"
            " ORDER BY started",
            session,
            limit,
        )


_FORGET = (
    "DELETE FROM incident_turns WHERE turn IN (SELECT id FROM turns WHERE session = ?)",
    "DELETE FROM evidence WHERE turn IN (SELECT id FROM turns WHERE session = ?)",
    "DELETE FROM tool_calls WHERE turn IN (SELECT id FROM turns WHERE session = ?)",
    "DELETE FROM change_intents WHERE session = ?",
    "DELETE FROM change_approvals WHERE session = ?",
    "DELETE FROM turns WHERE session = ?",
    "DELETE FROM sessions WHERE id = ?",
)


def _request_hash(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
