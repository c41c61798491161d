"""The schema of state.db, step by step; a step that has been released is never edited."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("gemma-sre")


@migrations()
def m001_initial(db: Database) -> None:
    """Create sessions, turns, tool calls, evidence and incidents."""
    db.table("sessions").create(
        {"id": str, "title": str, "created": str, "used": str}, pk="id", not_null={"created"}
    )
    db.table("turns").create(
        {
            "id": str,
            "session": str,
            "kind": str,  # diagnose | ask
            "question": str,
            "request": str,  # JSON; its hash finds the turn that a killed process left
            "request_hash": str,
            "state": str,  # running | finished | failed | cancelled
            "started": str,
            "finished": str,
            "answer": str,
            "author": str,  # model | rules
            "report": str,  # JSON, the object of diagnose --json
            "stats": str,  # JSON
        },
        pk="id",
        foreign_keys=[("session", "sessions", "id")],
        not_null={"session", "kind", "state", "started"},
    )
    db.table("turns").create_index(["session", "started"])
    db.table("turns").create_index(["state", "request_hash"])
    db.table("tool_calls").create(
        {
            "turn": str,
            "call": str,
            "name": str,
            "arguments": str,
            "state": str,
            "seconds": float,
            "summary": str,
            "content": str,
        },
        pk=("turn", "call"),
        foreign_keys=[("turn", "turns", "id")],
    )
    db.table("evidence").create(
        {"turn": str, "id": str, "source": str, "ref": str, "time": str, "quote": str},
        pk=("turn", "id"),
        foreign_keys=[("turn", "turns", "id")],
    )
    db.table("incidents").create(
        {
            "id": str,
            "fingerprint": str,
            "status": str,  # open | resolved
            "service": str,
            "verdict": str,
            "title": str,
            "opened": str,
            "last_seen": str,
            "count": int,
            "causes": str,  # JSON list of ids
            "report": str,  # JSON of the newest diagnosis
            "resolution": str,
        },
        pk="id",
        not_null={"fingerprint", "status", "opened", "last_seen", "count"},
    )
    db.table("incidents").create_index(["fingerprint", "status"])
    db.table("incidents").create_index(["last_seen"])
    db.table("incident_turns").create(
        {"turn": str, "incident": str},
        pk="turn",  # a turn is counted in one incident, once, however often it runs again
        foreign_keys=[("turn", "turns", "id"), ("incident", "incidents", "id")],
    )


@migrations()
def m002_history(db: Database) -> None:
    """Give incidents a timeline, their causes one by one, runbooks, and a search index."""
    db.table("incident_events").create(
        {
            "id": int,
            "incident": str,
            "time": str,
            "kind": str,  # opened | seen | note | action | resolved
            "author": str,
            "text": str,
            "turn": str,  # no foreign key: the turn may be deleted with its session
        },
        pk="id",
        foreign_keys=[("incident", "incidents", "id")],
        not_null={"incident", "time", "kind"},
    )
    db.table("incident_events").create_index(["incident", "id"])
    db.conn.execute(
        "INSERT INTO incident_events (incident, time, kind, author, text)"
        " SELECT id, opened, 'opened', '', title FROM incidents ORDER BY opened"
    )
    db.table("incident_runbooks").create(
        {"incident": str, "runbook": str, "digest": str, "shown": str},
        pk=("incident", "runbook", "digest"),
        foreign_keys=[("incident", "incidents", "id")],
    )
    db.table("incident_causes").create(
        {
            "incident": str,
            "cause": str,
            "component": str,
            "exception": str,  # the type, without its module; "" where none was seen
            "last_seen": str,  # of the incident, so that the newest are found by index alone
        },
        pk=("incident", "cause"),
        foreign_keys=[("incident", "incidents", "id")],
    )
    for columns in (
        ["cause", "last_seen"],
        ["component", "last_seen"],
        ["exception", "last_seen"],
        ["component", "exception", "last_seen"],
    ):
        db.table("incident_causes").create_index(columns)
    # Covering indexes: a row holds a whole report, and reading it costs many pages.
    db.table("incidents").create_index(["fingerprint", "service", "last_seen"])
    db.table("incidents").create_index(["fingerprint", "last_seen", "count"])
    db.table("incidents").create_index(["service", "last_seen"])
    db.conn.execute(
        "CREATE INDEX idx_incidents_resolved ON incidents (fingerprint, last_seen)"
        " WHERE resolution <> ''"
    )
    # One text a fingerprint, and one more for each incident that a person wrote on. The number
    # is our own: VACUUM may renumber the rowids of a table with a text key.
    db.table("incident_texts").create(
        {"number": int, "fingerprint": str, "incident": str, "version": int}, pk="number"
    )
    db.table("incident_texts").create_index(["fingerprint", "incident"], unique=True)
    db.table("incident_texts").create_index(["incident"])
    db.table("incident_texts").create_index(["version"])
    db.conn.execute(
        "INSERT INTO incident_texts (fingerprint, incident, version)"
        " SELECT DISTINCT fingerprint, '', 0 FROM incidents"
    )
    db.conn.execute("CREATE VIRTUAL TABLE incident_words USING fts5(title, body)")
    db.conn.execute(
        "CREATE TABLE search_terms (term TEXT PRIMARY KEY, documents INTEGER NOT NULL)"
        " WITHOUT ROWID"
    )


@migrations()
def m003_audit(db: Database) -> None:
    """Create the audit log: each entry holds the hash of the one before, and none may change."""
    # AUTOINCREMENT: sqlite_sequence remembers the highest number, also of what was removed.
    db.conn.execute(
        "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL,"
        " who TEXT NOT NULL, kind TEXT NOT NULL, details TEXT NOT NULL, result TEXT NOT NULL,"
        " previous TEXT NOT NULL, hash TEXT NOT NULL)"
    )
    for name, event in (("update", "UPDATE"), ("delete", "DELETE")):
        db.conn.execute(
            f"CREATE TRIGGER audit_no_{name} BEFORE {event} ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
    # REPLACE deletes without the trigger above, so an entry must also follow the last one.
    db.conn.execute(
        "CREATE TRIGGER audit_in_order BEFORE INSERT ON audit WHEN"
        " NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit) OR NEW.previous <>"
        " coalesce((SELECT hash FROM audit ORDER BY number DESC LIMIT 1), '')"
        " BEGIN SELECT RAISE(ABORT, 'an audit entry must follow the last one'); END"
    )


@migrations()
def m004_learned(db: Database) -> None:
    """Create approvals of runbooks, the texts that were shown, and the patterns that were seen."""
    db.table("runbook_approvals").create(
        {
            "id": int,
            "runbook": str,
            "digest": str,  # SHA-256 of the content: an edit voids the approval
            "who": str,
            "time": str,
            "overrides": int,  # 1: a shipped runbook has the same id
            "withdrawn": str,  # time, "" while it stands
        },
        pk="id",
        not_null={"runbook", "digest", "who", "time"},
    )
    db.table("runbook_approvals").create_index(["digest"])
    db.table("runbook_texts").create(
        {"digest": str, "runbook": str, "text": str, "kept": str}, pk="digest"
    )
    db.table("seen_patterns").create(
        {
            "service": str,
            "pattern": str,
            "template": str,
            "severity": int,
            "members": str,  # JSON: ids of the templates that were merged into it
            "examples": str,  # JSON: ref and text
            "count": int,  # lines of the last mining
            "first": str,  # times of the log, "" where it has none
            "last": str,
            "source": str,  # the log that it was first seen in
            "seen": str,
        },
        pk=("service", "pattern"),
    )


@migrations()
def m005_starts(db: Database) -> None:
    """Keep how long each phase of an observed start took, for the estimate of the next."""
    db.table("starts").create(
        {
            "id": str,
            "service": str,
            "revision": str,
            "instance": str,
            "began": str,
            "model": str,
            "version": str,
            "ready": int,
            "phases": str,  # JSON: seconds by phase
        },
        pk="id",
        not_null={"service", "began", "phases"},
    )
    db.table("starts").create_index(["service", "began"])


@migrations()
def m006_approvals(db: Database) -> None:
    """Create what a person was asked and answered, and the intents of changes with their results.

    They go with their session; the audit log keeps what was changed.
    """
    db.table("change_approvals").create(
        {
            "id": str,
            "turn": str,
            "session": str,
            "asked": str,
            "expires": str,
            "calls": str,  # JSON: what was shown
            "state": str,  # asked | decided | expired | withdrawn
            "decisions": str,  # JSON by call
            "decided": str,
        },
        pk="id",
        not_null={"turn", "session", "asked", "expires", "state"},
    )
    db.table("change_approvals").create_index(["session", "state"])
    db.table("change_intents").create(
        {
            "approval": str,
            "call": str,
            "turn": str,
            "session": str,
            "tool": str,
            "effect": str,  # change | destroy
            "arguments": str,  # JSON
            "target": str,  # JSON
            "before": str,  # JSON: the live state that the approval rests on
            "begun": str,
            "outcome": str,  # "" until known: done | failed | not_done | unknown
            "summary": str,
            "finished": str,
        },
        pk=("approval", "call"),
        not_null={"turn", "session", "tool", "begun", "outcome"},
    )
    db.table("change_intents").create_index(["session", "outcome"])
