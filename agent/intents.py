"""Approvals and intents in state.db: what a person allowed, what was begun, and how it ended.

An intent is committed before its change is sent, its result after. One without a result was cut
off: it is reconciled from the live state, never run again blindly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from agent.database import Row
from agent.memory import Memory

Outcome = Literal["done", "failed", "not_done", "unknown"]
ApprovalState = Literal["decided", "expired", "withdrawn"]

_JSON = ("arguments", "target", "before")
_INTENT = ("approval", "call", "turn", "session", "tool", "effect", *_JSON)


class Intents:
    """The approvals and intents of one state.db; each change of them is also audited."""

    def __init__(self, memory: Memory) -> None:
        self._file = memory.file
        self._audit = memory.audit

    # -- approvals

    def ask(self, turn: str, session: str, asked: Mapping[str, Any]) -> None:
        """Keep what a person is asked; the same approval again changes nothing."""
        with self._file.write():
            new = self._file.execute(
                "INSERT OR IGNORE INTO change_approvals (id, turn, session, asked, expires, calls,"
                " state, decisions, decided) VALUES (?, ?, ?, ?, ?, ?, 'asked', '{}', '')",
                asked["approval"],
                turn,
                session,
                asked["asked"],
                asked["expires"],
                json.dumps(asked["calls"]),
            )
            if new:
                for call in asked["calls"]:
                    details = {"turn": turn, "approval": asked["approval"], **_said(call)}
                    self._audit.append("approval", details, result="asked")
        self._audit.publish()

    def decide(
        self,
        asked: Mapping[str, Any],
        state: ApprovalState,
        decisions: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Keep how an approval was answered, call by call, before anything follows from it."""
        with self._file.write():
            self._file.execute(
                "UPDATE change_approvals SET state = ?, decisions = ?, decided = ? WHERE id = ?",
                state,
                json.dumps(decisions),
                self._file.now(),
                asked["approval"],
            )
            for call in asked["calls"]:
                taken = decisions.get(call["call"])
                details = {"approval": asked["approval"], **_said(call)}
                if taken is None:
                    self._audit.append("approval", details, result=state)
                    continue
                said = {**details, "reason": taken["reason"]}
                result = "approved" if taken["approved"] else "denied"
                self._audit.append("approval", said, result=result)
        self._audit.publish()

    def decisions(self, approval: str) -> dict[str, Any]:
        """Return the newest decisions of an approval by call, empty when it is not decided."""
        rows = self._file.rows(
            "SELECT decisions FROM change_approvals WHERE id = ? AND state = 'decided'", approval
        )
        return dict(json.loads(rows[0]["decisions"])) if rows else {}

    def answered(self, session: str) -> list[str]:
        """Return the turns, newest first, that were answered and not yet shown to their end."""
        rows = self._file.rows(
            "SELECT DISTINCT a.turn FROM change_approvals a JOIN turns t ON t.id = a.turn"
            " WHERE a.session = ? AND a.state = 'decided' AND t.state IN ('running', 'recorded')"
            " ORDER BY t.started DESC",
            session,
        )
        return [str(row["turn"]) for row in rows]

    # -- intents

    def find(self, approval: str, call: str) -> Row | None:
        """Return an intent, None when the change was never begun."""
        rows = self._file.rows(
            "SELECT * FROM change_intents WHERE approval = ? AND call = ?", approval, call
        )
        return _read(rows[0]) if rows else None

    def begin(self, intent: Mapping[str, Any]) -> None:
        """Commit that a change is about to be sent; raises StateError when it can't be kept.

        ``intent`` has approval, call, turn, session, tool, effect, arguments, target and before.
        """
        row = dict(intent)
        for name in _JSON:
            row[name] = json.dumps(row[name], sort_keys=True)
        with self._file.write():
            self._file.execute(
                "INSERT INTO change_intents (approval, call, turn, session, tool, effect,"
                " arguments, target, before, begun, outcome, summary, finished)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', '')",
                *(row[name] for name in _INTENT),
                self._file.now(),
            )
            self._audit.append("change", _told(intent), result="begun")
        self._audit.publish()

    def settle(self, approval: str, call: str, outcome: Outcome, summary: str) -> None:
        """Keep how a change ended; what has been settled stays as it is."""
        with self._file.write():
            changed = self._file.execute(
                "UPDATE change_intents SET outcome = ?, summary = ?, finished = ?"
                " WHERE approval = ? AND call = ? AND outcome = ''",
                outcome,
                summary,
                self._file.now(),
                approval,
                call,
            )
            if changed:
                intent = self.find(approval, call)
                details = {**_told(intent or {}), "summary": summary}
                self._audit.append("change", details, result=outcome)
        self._audit.publish()

    def unsettled(self, session: str) -> list[Row]:
        """Return the session's intents without a result, oldest first."""
        rows = self._file.rows(
            "SELECT * FROM change_intents WHERE session = ? AND outcome = '' ORDER BY begun",
            session,
        )
        return [_read(row) for row in rows]


def _read(row: Row) -> Row:
    return {
        **row,
        **{name: json.loads(row[name]) for name in _JSON},
    }


def _said(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in ("call", "tool", "effect", "arguments", "hash")}


def _told(intent: Mapping[str, Any]) -> dict[str, Any]:
    names = ("turn", "approval", "call", "tool", "effect", "arguments", "target")
    return {name: intent[name] for name in names if name in intent}
