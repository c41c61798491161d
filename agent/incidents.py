"""Incidents: opened, joined, noted, resolved; each with its timeline, runbooks and evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from typing import Any, Literal

from agent.database import Row, StateFile
from agent.search import IncidentSearch
from agent.search_index import SearchIndex
from agent.signature import CauseKey, cause_keys, fingerprint_of
from agent.storable import storable_text
from tools.errors import UsageError

# The same fingerprint seen again within this time joins the open incident.
JOIN_WINDOW = timedelta(hours=24)
STATUSES = ("open", "resolved")
# Of a note or a resolution, in characters.
TEXT_LIMIT = 4_000
_INDEXED_QUOTES = 12
_QUOTE_START = 240  # characters of a quote whose words are indexed
_REINDEX_BATCH = 500

EventKind = Literal["opened", "seen", "note", "action", "resolved"]


class Incidents:
    """The incidents of one state.db."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._index = SearchIndex(file)
        self._search = IncidentSearch(file, self._index)
        self._current = False

    # -- reading

    def recent(self, limit: int = 50, status: str = "") -> list[Row]:
        """Return incidents, the newest first, without their reports."""
        rows = self._file.rows(
            "SELECT id, fingerprint, status, service, verdict, title, opened, last_seen, count,"
            " causes, resolution FROM incidents WHERE ? IN ('', status)"
            " ORDER BY last_seen DESC LIMIT ?",
            status,
            limit,
        )
        return [_decoded(row) for row in rows]

    def get(self, incident: str) -> Row:
        """Return one incident with report, turns, timeline and the runbooks that were shown.

        An unambiguous prefix of the id is enough. Raises UsageError when there is none, or more
        than one.
        """
        row = _decoded(
            self._file.rows("SELECT * FROM incidents WHERE id = ?", self.named(incident))[0]
        )
        row["turns"] = self._file.rows(
            "SELECT t.id, t.session, t.started, t.finished FROM incident_turns i"
            " JOIN turns t ON t.id = i.turn WHERE i.incident = ? ORDER BY t.started",
            row["id"],
        )
        row["timeline"] = self._file.rows(
            "SELECT time, kind, author, text, turn FROM incident_events WHERE incident = ?"
            " ORDER BY time, id",
            row["id"],
        )
        row["runbooks"] = self._file.rows(
            "SELECT runbook, digest, shown FROM incident_runbooks WHERE incident = ?"
            " ORDER BY shown, runbook",
            row["id"],
        )
        return row

    def named(self, incident: str) -> str:
        """Return the id that ``incident`` begins; raises UsageError unless there is just one."""
        found = [
            row["id"]
            for row in self._file.rows(
                "SELECT id FROM incidents WHERE id >= ?1 AND id < ?1 || char(1114111)"
                " ORDER BY id LIMIT 6",
                incident,
            )
        ]
        if incident and (incident in found or len(found) == 1):
            return incident if incident in found else str(found[0])
        raise UsageError(
            f"No single incident is named {incident!r} (found: {', '.join(found[:5]) or 'none'}).",
            fix="`gemma-sre incident list` shows them.",
        )

    def exact(self, fingerprint: str, service: str, limit: int) -> list[Row]:
        """Return earlier incidents with this fingerprint, those of the same service first."""
        ids = self._search.exact(fingerprint, service, limit)
        return [_decoded(self._file.rows(_BRIEF, found)[0]) for found in ids]

    def similar(self, report: Mapping[str, Any], limit: int = 3) -> list[Row]:
        """Return incidents like this report's, with ``match`` saying in which way."""
        self._index_missing()
        return [_decoded(row) for row in self._search.similar(report, limit)]

    def search(self, text: str, limit: int = 10) -> list[Row]:
        """Return the incidents that a person's words mean, with ``match`` saying in which way."""
        self._index_missing()
        return [_decoded(row) for row in self._search.search(text, limit)]

    def history(self, fingerprint: str) -> Row:
        """Return how often these causes were seen before, and what fixed them last.

        The keys are ``times``, and ``fixed_by`` and ``fixed_in`` (an incident), which are empty
        when none was resolved.
        """
        (seen,) = self._file.rows(
            "SELECT coalesce(sum(count), 0) AS times FROM incidents WHERE fingerprint = ?",
            fingerprint,
        )
        fixed = self._file.rows(
            "SELECT id, resolution FROM incidents WHERE fingerprint = ? AND resolution <> ''"
            " ORDER BY last_seen DESC LIMIT 1",
            fingerprint,
        )
        return {
            **seen,
            "fixed_by": fixed[0]["resolution"] if fixed else "",
            "fixed_in": fixed[0]["id"] if fixed else "",
        }

    # -- writing

    def join(self, turn: str, report: Mapping[str, Any], runbooks: Mapping[str, str]) -> str:
        """Count a diagnosis in its open incident, or open one; inside a transaction.

        ``runbooks`` are the digests, by id, of the runbooks as they were shown.
        """
        known = self._file.rows("SELECT incident FROM incident_turns WHERE turn = ?", turn)
        if known:
            return str(known[0]["incident"])
        now = self._file.now()
        incident = self._open_one(report)
        values = (
            report["verdict"],
            report["causes"][0]["title"],
            json.dumps([cause["id"] for cause in report["causes"]]),
            json.dumps(report),
        )
        if incident is None:
            day = f"i-{self._file.clock().astimezone(UTC):%Y%m%d}-"
            incident = self._file.unused_id(day, 3, "SELECT 1 FROM incidents WHERE id = ?")
            self._file.execute(
                "INSERT INTO incidents (id, fingerprint, status, service, opened, last_seen, count,"
                " verdict, title, causes, report, resolution)"
                " VALUES (?, ?, 'open', ?, ?, ?, 1, ?, ?, ?, ?, '')",
                incident,
                fingerprint_of(report),
                _service(report),
                now,
                now,
                *values,
            )
            self._event(incident, "opened", report["causes"][0]["title"], "gemma-sre", turn)
        else:
            self._file.execute(
                "UPDATE incidents SET last_seen = ?, count = count + 1, verdict = ?, title = ?,"
                " causes = ?, report = ? WHERE id = ?",
                now,
                *values,
                incident,
            )
            self._event(incident, "seen", f"seen again: {report['verdict']}", "gemma-sre", turn)
        self._file.execute(
            "INSERT INTO incident_turns (turn, incident) VALUES (?, ?)", turn, incident
        )
        self._link(incident, report, runbooks, now)
        self.index(incident)
        return incident

    def note(self, incident: str, text: str, author: str, kind: EventKind = "note") -> Row:
        """Add a person's note, or what was done, to the timeline; return the incident."""
        found, text = self.named(incident), _said(text, "note")
        with self._file.write():
            self._event(found, kind, text, author)
            self.index(found)
        return self.get(found)

    def resolve(self, incident: str, resolution: str, author: str) -> Row:
        """Close an incident with what fixed it; return it. A resolved one may be corrected."""
        found, text = self.named(incident), _said(resolution, "resolution")
        with self._file.write():
            self._file.execute(
                "UPDATE incidents SET status = 'resolved', resolution = ? WHERE id = ?", text, found
            )
            self._event(found, "resolved", text, author)
            self.index(found)
        return self.get(found)

    def delete(self, incident: str) -> None:
        """Forget an incident and all that belongs to it; inside a transaction."""
        (row,) = self._file.rows("SELECT fingerprint FROM incidents WHERE id = ?", incident)
        for statement in _FORGET:
            self._file.execute(statement, incident)
        self._index.remove(row["fingerprint"], incident)
        if not self._search.exact(row["fingerprint"], "", 1):
            self._index.remove(row["fingerprint"], "")

    def index(self, incident: str) -> None:
        """Bring an incident's words and coarse keys up to date; inside a transaction."""
        (row,) = self._file.rows(
            "SELECT fingerprint, title, last_seen, resolution, report FROM incidents WHERE id = ?",
            incident,
        )
        report = json.loads(row["report"] or "{}")
        keys = cause_keys(report) if report else ()
        self._file.execute("DELETE FROM incident_causes WHERE incident = ?", incident)
        for key in keys:
            self._file.execute(
                "INSERT INTO incident_causes (incident, cause, component, exception, last_seen)"
                " VALUES (?, ?, ?, ?, ?)",
                incident,
                key.cause,
                key.component,
                key.exception,
                row["last_seen"],
            )
        said = self._file.rows(
            "SELECT text FROM incident_events WHERE incident = ? AND kind IN ('note', 'action')",
            incident,
        )
        head = "\n".join({row["title"]: 0, **{c["title"]: 0 for c in report.get("causes", [])}})
        human = "\n".join([row["resolution"] or "", *(event["text"] for event in said)]).strip()
        if human or not self._index.has(row["fingerprint"]):
            body = _words_of(report, keys)
            self._index.put(row["fingerprint"], "", head, body)
            if human:
                self._index.put(row["fingerprint"], incident, f"{head}\n{human}", body)

    def _index_missing(self) -> None:
        if self._current:
            return
        while found := self._index.stale(_REINDEX_BATCH):
            with self._file.write():
                for fingerprint in found:
                    self._index_all(fingerprint)
        self._current = True

    def _index_all(self, fingerprint: str) -> None:
        for row in self._file.rows("SELECT id FROM incidents WHERE fingerprint = ?", fingerprint):
            self.index(row["id"])
        self._index.drop_stale(fingerprint)

    def _open_one(self, report: Mapping[str, Any]) -> str | None:
        since = (self._file.clock().astimezone(UTC) - JOIN_WINDOW).isoformat()
        found = self._file.rows(
            "SELECT id FROM incidents WHERE fingerprint = ? AND service = ? AND status = 'open'"
            " AND last_seen >= ? ORDER BY last_seen DESC LIMIT 1",
            fingerprint_of(report),
            _service(report),
            since,
        )
        return str(found[0]["id"]) if found else None

    def _link(
        self, incident: str, report: Mapping[str, Any], runbooks: Mapping[str, str], now: str
    ) -> None:
        for cause in report["causes"]:
            if cause.get("runbook") in runbooks:
                self._file.execute(
                    "INSERT OR IGNORE INTO incident_runbooks (incident, runbook, digest, shown)"
                    " VALUES (?, ?, ?, ?)",
                    incident,
                    cause["runbook"],
                    runbooks[cause["runbook"]],
                    now,
                )

    def _event(
        self, incident: str, kind: EventKind, text: str, author: str, turn: str | None = None
    ) -> None:
        self._file.execute(
            "INSERT INTO incident_events (incident, time, kind, author, text, turn)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            incident,
            self._file.now(),
            kind,
            author,
            text,
            turn,
        )


_FORGET = (
    "DELETE FROM incident_events WHERE incident = ?",
    "DELETE FROM incident_runbooks WHERE incident = ?",
    "DELETE FROM incident_causes WHERE incident = ?",
    "DELETE FROM incident_turns WHERE incident = ?",
    "DELETE FROM incidents WHERE id = ?",
)
_BRIEF = (
    "SELECT id, service, verdict, title, opened, last_seen, count, status, causes, resolution"
    " FROM incidents WHERE id = ?"
)


def _words_of(report: Mapping[str, Any], keys: Iterable[CauseKey]) -> str:
    cited = {ref for cause in report.get("causes", []) for ref in cause.get("evidence", [])}
    quotes = [e["quote"] for e in report.get("evidence", []) if e["id"] in cited]
    named = [f"{key.cause} {key.component} {key.exception}" for key in keys]
    return "\n".join([*named, *(quote[:_QUOTE_START] for quote in quotes[:_INDEXED_QUOTES])])


def _said(text: str, what: str) -> str:
    said = storable_text(text.strip())
    if not said:
        raise UsageError(f"The {what} is empty.", fix="Say it in a sentence.")
    if len(said) > TEXT_LIMIT:
        raise UsageError(
            f"The {what} has {len(said)} characters; at most {TEXT_LIMIT} are kept.",
            fix="Shorten it.",
        )
    return said


def _service(report: Mapping[str, Any]) -> str:
    return str(report["target"].get("service", ""))


def _decoded(row: Row) -> Row:
    row["causes"] = json.loads(row["causes"] or "[]")
    if row.get("report"):
        row["report"] = json.loads(row["report"])
    return row
