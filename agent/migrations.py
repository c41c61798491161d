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
