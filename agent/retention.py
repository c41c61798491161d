"""Forgetting: sessions with their turns and checkpoints, old incidents, and the room they took."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from filelock import Timeout

from agent.database import BUSY_TIMEOUT_MS, explain
from agent.memory import Memory
from agent.session import checkpoints_path, session_lock
from tools.errors import StateError


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was, or with ``dry_run`` would be, forgotten; sizes are in bytes, of both files."""

    cutoff: str
    sessions: int
    held: int  # old sessions that another process has open; they stay
    turns: int
    incidents: int
    open_incidents: int  # old ones that nobody resolved; they stay
    checkpoints: int
    before: int
    after: int
    dry_run: bool = False


def delete_session(memory: Memory, session: str) -> str:
    """Forget a session, its turns and their checkpoints; return its id.

    Raises UsageError for an unknown one, StateError while another process has it open.
    """
    found = memory.sessions.named(session)
    with _held(memory.path, found) as mine:
        if not mine:
            raise StateError(
                f"Session {found} is open in another gemma-sre.", fix="Close that one first."
            )
        turns = _forget(memory, found)
    _delete_checkpoints(memory.path, turns)
    return found


def prune(
    memory: Memory, older_than: timedelta, *, keep_incidents: bool = False, dry_run: bool = False
) -> Pruned:
    """Forget sessions last used, and resolved incidents last seen, before a time; then VACUUM.

    Open incidents and the audit log stay. Checkpoints that no turn can resume from go too.
    """
    cutoff = (memory.file.clock().astimezone(UTC) - older_than).isoformat()
    before = size_of(memory.path)
    old = [
        row["id"]
        for row in memory.file.rows("SELECT id FROM sessions WHERE used < ? ORDER BY used", cutoff)
    ]
    incidents = [] if keep_incidents else _incidents(memory, "resolved", cutoff)
    held = turns = 0
    for session in old:
        with _held(memory.path, session) as mine:
            held += not mine
            if mine:
                turns += len(_turns(memory, session) if dry_run else _forget(memory, session))
    if not dry_run and incidents:
        with memory.file.write():
            for incident in incidents:
                memory.incidents.delete(incident)
    useless = _useless_threads(memory, cutoff, () if not dry_run else old)
    result = Pruned(
        cutoff=cutoff,
        sessions=len(old) - held,
        held=held,
        turns=turns,
        incidents=len(incidents),
        open_incidents=len(_incidents(memory, "open", cutoff)),
        checkpoints=len(useless),
        before=before,
        after=before,
        dry_run=dry_run,
    )
    if dry_run:
        return result
    _delete_checkpoints(memory.path, useless)
    memory.audit.record("deletion", asdict(result), result="pruned")
    _vacuum(memory.path, words=True)
    _vacuum(checkpoints_path(memory.path))
    return Pruned(**{**asdict(result), "after": size_of(memory.path)})


def size_of(state: Path) -> int:
    """Return the bytes that state.db and the checkpoints take, with what SQLite keeps beside."""
    return sum(
        path.stat().st_size
        for file in (state, checkpoints_path(state))
        for path in (file, file.with_name(file.name + "-wal"))
        if path.exists()
    )


def _forget(memory: Memory, session: str) -> list[str]:
    with memory.file.write():
        turns = memory.sessions.delete(session)
        memory.audit.append("deletion", {"session": session, "turns": len(turns)}, result="deleted")
    memory.audit.publish()
    # Held, so nobody else can be waiting for it but in vain: the session is gone.
    Path(session_lock(memory.path, session).lock_file).unlink(missing_ok=True)
    return turns


def _turns(memory: Memory, session: str) -> list[dict[str, Any]]:
    return memory.file.rows("SELECT id FROM turns WHERE session = ?", session)


def _incidents(memory: Memory, status: str, cutoff: str) -> list[str]:
    sql = "SELECT id FROM incidents WHERE status = ? AND last_seen < ?"
    return [row["id"] for row in memory.file.rows(sql, status, cutoff)]


@contextlib.contextmanager
def _held(state: Path, session: str) -> Iterator[bool]:
    """Hold a session's lock, if no other process does."""
    lock = session_lock(state, session)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _useless_threads(memory: Memory, cutoff: str, going: Sequence[str]) -> list[str]:
    """Return the checkpoint threads (turns) that nothing will resume."""
    path = checkpoints_path(memory.path)
    with _checkpoints(path) as db:
        if db is None:
            return []
        threads = [row[0] for row in db.execute("SELECT DISTINCT thread_id FROM checkpoints")]
    running = memory.file.rows("SELECT id, session, started FROM turns WHERE state = 'running'")
    alive = {
        row["id"]
        for row in running
        if row["session"] not in going
        and (row["started"] >= cutoff or _is_open(memory.path, row["session"]))
    }
    return [thread for thread in threads if thread not in alive]


def _is_open(state: Path, session: str) -> bool:
    with _held(state, session) as mine:
        return not mine


def _delete_checkpoints(state: Path, turns: Sequence[str]) -> None:
    with _checkpoints(checkpoints_path(state)) as db:
        if db is not None and turns:
            listed = json.dumps(list(turns))
            with db:
                for statement in (
                    "DELETE FROM writes WHERE thread_id IN (SELECT value FROM json_each(?))",
                    "DELETE FROM checkpoints WHERE thread_id IN (SELECT value FROM json_each(?))",
                ):
                    db.execute(statement, (listed,))


@contextlib.contextmanager
def _checkpoints(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the checkpoints, None where LangGraph has not made its tables yet."""
    if not path.exists():
        yield None
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            yield db if {"checkpoints", "writes"} <= tables else None
    except sqlite3.DatabaseError as error:
        raise explain(path, error) from error


def _vacuum(path: Path, *, words: bool = False) -> None:
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as db:
            if words:
                db.execute("DELETE FROM search_terms WHERE documents <= 0")
                db.execute("INSERT INTO incident_words (incident_words) VALUES ('optimize')")
                db.commit()
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        raise explain(path, error) from error
