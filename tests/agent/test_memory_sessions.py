from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.memory import Memory
from agent.retention import delete_session, prune, size_of
from agent.session import Session, checkpoints_path, session_lock
from agent.settings import Settings
from tools.errors import StateError, UsageError

DAY = timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path, clock: Clock) -> Iterator[Memory]:
    opened = Memory(tmp_path / "state.db", clock)
    yield opened
    opened.close()


def a_report(cause: str) -> dict[str, Any]:
    return {
        "target": {"service": "gemma", "kind": "cloud-run"},
        "verdict": "confirmed",
        "causes": [{"id": cause, "title": f"Title {cause}"}],
        "evidence": [{"id": "E1", "source": "logging", "ref": "r", "time": None, "quote": "q"}],
        "stats": {},
    }


def a_session(memory: Memory, cause: str = "a") -> tuple[str, str, str]:
    session = memory.start_session()
    turn = memory.start_turn(session, "diagnose", f"diagnose {cause}", {})
    memory.record_call(turn, {"call": "c", "name": "probe", "state": "ok", "content": "x" * 5000})
    incident = memory.finish_turn(
        turn, "finished", answer="so", author="rules", report=a_report(cause), record_incident=True
    )
    assert incident is not None
    return session, turn, incident


def checkpoint(memory: Memory, *turns: str) -> None:
    """Write what LangGraph's checkpointer leaves (langgraph-checkpoint-sqlite 3.1, aio.py)."""
    with sqlite3.connect(checkpoints_path(memory.path)) as db:
        for name in ("checkpoints", "writes"):
            db.execute(f"CREATE TABLE IF NOT EXISTS {name} (thread_id TEXT, value BLOB)")
            db.executemany(f"INSERT INTO {name} VALUES (?, ?)", [(t, b"x" * 9000) for t in turns])
    db.close()


def threads(memory: Memory) -> set[str]:
    with sqlite3.connect(checkpoints_path(memory.path)) as db:
        found = db.execute("SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM writes")
        names = {row[0] for row in found}
    db.close()
    return names


def test_sessions_are_listed_named_and_found(memory: Memory, clock: Clock) -> None:
    first = a_session(memory)[0]
    clock.time += DAY
    second = memory.start_session("By hand")
    listed = memory.sessions.recent()
    assert [(row["id"], row["title"], row["turns"]) for row in listed] == [
        (second, "By hand", 0),
        (first, "diagnose a", 1),
    ]
    assert memory.sessions.rename(first, " the \n int4 night ")["title"] == "the int4 night"
    assert memory.sessions.named("the int4 night") == first
    assert memory.sessions.named(first[:-1]) == first
    for wrong in ("", "s-", "%", "nope", "' OR 1=1 --"):
        with pytest.raises(UsageError, match="session list"):
            memory.sessions.named(wrong)
    for name in ("", " ", "x" * 121):
        with pytest.raises(UsageError):
            memory.sessions.rename(first, name)


def test_an_export_holds_calls_and_evidence(memory: Memory) -> None:
    session, turn, incident = a_session(memory)
    whole = memory.sessions.export(session)
    (kept,) = whole["turns"]
    assert (kept["id"], kept["report"]["incident"]) == (turn, incident)
    assert kept["calls"][0]["content"] == "x" * 5000
    assert kept["evidence"][0]["quote"] == "q"


def test_a_deleted_session_takes_turns_and_checkpoints_and_leaves_incidents(memory: Memory) -> None:
    session, turn, incident = a_session(memory)
    other, kept, _ = a_session(memory, "b")
    checkpoint(memory, turn, kept)
    assert delete_session(memory, session) == session
    assert not memory.has_session(session)
    for table in ("turns", "tool_calls", "evidence", "incident_turns"):
        assert memory.db.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table
    assert threads(memory) == {kept}
    assert memory.get_incident(incident)["report"]["causes"]
    assert [row["id"] for row in memory.sessions.recent()] == [other]
    assert memory.audit.entries(kind="deletion")[0]["details"]["session"] == session
    with pytest.raises(UsageError):
        delete_session(memory, session)


def test_a_session_that_is_open_elsewhere_is_not_deleted(memory: Memory) -> None:
    session = a_session(memory)[0]
    with session_lock(memory.path, session), pytest.raises(StateError, match="another gemma-sre"):
        delete_session(memory, session)
    assert memory.has_session(session)


def test_prune_forgets_what_is_old_and_gives_the_room_back(memory: Memory, clock: Clock) -> None:
    olds = [a_session(memory, f"old{n}") for n in range(40)]
    for *_, incident in olds[:30]:
        memory.incidents.resolve(incident, "fixed", "ann")
    clock.time += 100 * DAY
    _, new_turn, _ = a_session(memory, "new")
    running = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    checkpoint(memory, *(turn for _, turn, _ in olds), new_turn, running, "t-orphan")
    planned = prune(memory, 90 * DAY, dry_run=True)
    assert threads(memory) == {*(turn for _, turn, _ in olds), new_turn, running, "t-orphan"}
    assert len(memory.list_incidents(100)) == 41
    done = prune(memory, 90 * DAY)
    assert (done.sessions, done.turns, done.incidents, done.open_incidents) == (40, 40, 30, 10)
    same = ("sessions", "turns", "incidents", "open_incidents", "checkpoints")
    assert [getattr(done, name) for name in same] == [getattr(planned, name) for name in same]
    assert done.after < done.before / 2
    assert done.after == size_of(memory.path)
    assert threads(memory) == {running}
    assert len(memory.list_incidents(100)) == 11
    # VACUUM may renumber rows: what is left must still be found under its own words.
    for row in memory.list_incidents(100):
        found = memory.incidents.search(row["title"], 1)[0]
        assert found["id"] == row["id"]
    assert memory.incidents.search("old3") == []
    assert memory.audit.verify().problems == ()


def test_prune_can_keep_incidents_and_keeps_held_sessions(memory: Memory, clock: Clock) -> None:
    session, turn, incident = a_session(memory)
    memory.incidents.resolve(incident, "fixed", "ann")
    with memory.file.write():
        memory.file.execute("UPDATE turns SET state = 'running'")
    checkpoint(memory, turn)
    clock.time += 100 * DAY
    with session_lock(memory.path, session):
        done = prune(memory, 90 * DAY, keep_incidents=True)
    assert (done.sessions, done.held, done.incidents) == (0, 1, 0)
    assert memory.has_session(session)
    assert threads(memory) == {turn}
    assert memory.get_incident(incident)["status"] == "resolved"


def test_prune_without_checkpoints_or_anything_old(memory: Memory) -> None:
    done = prune(memory, DAY)
    assert (done.sessions, done.incidents, done.checkpoints) == (0, 0, 0)
    checkpoints_path(memory.path).touch()
    assert prune(memory, DAY).checkpoints == 0


async def test_a_deleted_session_can_not_be_opened(settings: Settings) -> None:
    session = await Session.open(settings)
    with pytest.raises(StateError):
        delete_session(session.memory, session.id)
    await session.close()
    memory = Memory.open(settings.state)
    delete_session(memory, session.id)
    memory.close()
    with pytest.raises(UsageError):
        await Session.open(settings, session=session.id)
    assert not list(settings.state.parent.glob(f"*{session.id}*"))


async def test_corrupt_checkpoints_are_moved_aside(settings: Settings) -> None:
    path = checkpoints_path(settings.state)
    path.write_bytes(b"not a database at all" * 100)
    session = await Session.open(settings)
    await session._load()
    notice = session.memory.notice
    await session.close()
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.name in notice
    assert aside.read_bytes().startswith(b"not a database")


def test_only_the_owner_may_read_what_is_recorded(memory: Memory) -> None:
    a_session(memory)
    for path in memory.path.parent.glob("state.db*"):
        if not path.name.endswith((".lock", ".migrating", "audit-head")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
