from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.database import open_database, prepare_file
from agent.memory import Memory
from agent.migrations import migrations
from tools.errors import StateError

WRITER = """
import sys, time
from pathlib import Path
from agent.memory import Memory

memory = Memory.open(Path(sys.argv[1]))
report = {
    "target": {"service": "gemma"}, "verdict": "likely", "evidence": [], "stats": {},
    "causes": [{"id": "shared", "title": "Shared"}],
}
count, end = 0, time.monotonic() + 1.5
while time.monotonic() < end:
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {"n": count})
    memory.record_call(turn, {"call": "c", "name": "probe", "state": "ok"})
    incident = memory.finish_turn(turn, "finished", report=report, record_incident=True)
    memory.incidents.note(incident, f"note {count}", sys.argv[2])
    count += 1
print(count)
memory.close()
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    written = [int(process.communicate(timeout=60)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert min(written) > 0
    memory = Memory.open(path)
    (incident,) = memory.list_incidents()
    events = memory.get_incident(incident["id"])["timeline"]
    check = memory.audit.verify()
    turns = memory.db.execute("SELECT count(*) FROM turns WHERE state = 'finished'").fetchone()[0]
    memory.close()
    total = sum(written)
    assert (turns, incident["count"], check.entries) == (total, total, total)
    assert len(events) == 2 * total  # opened or seen, and a note each
    assert check.problems == ()


def an_old_file(path: Path) -> None:
    """Write state.db as the first schema had it, with two incidents of one fingerprint."""
    import sqlite_utils

    connection = sqlite3.connect(path)
    db = sqlite_utils.Database(connection, execute_plugins=False)
    migrations.apply(db, stop_before="m002_history")
    report = (
        '{"causes": [{"id": "a", "title": "Zebra crossing", "component": "vllm",'
        ' "evidence": ["E1"]}], "evidence": [{"id": "E1", "quote": "ValueError: stripes"}]}'
    )
    for incident in ("i-1", "i-2"):
        connection.execute(
            "INSERT INTO incidents (id, fingerprint, status, service, verdict, title, opened,"
            " last_seen, count, causes, report, resolution) VALUES (?, 'f', 'open', 's',"
            " 'likely', 'Zebra crossing', '2026-01-01', ?, 1, '[\"a\"]', ?, '')",
            (incident, f"2026-01-0{incident[-1]}", report),
        )
    connection.commit()
    connection.close()


def test_an_older_file_is_migrated_with_its_incidents(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    an_old_file(path)
    memory = Memory.open(path)
    try:
        (found,) = memory.incidents.search("zebra stripes", 1)
        assert (found["id"], found["match"]) == ("i-2", "words")
        assert [row["id"] for row in memory.incidents.search("ValueError")] == ["i-2", "i-1"]
        events = memory.get_incident("i-1")["timeline"]
        assert [(event["kind"], event["time"]) for event in events] == [("opened", "2026-01-01")]
        assert memory.audit.verify().problems == ()
    finally:
        memory.close()


def test_a_migration_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    an_old_file(path)

    def fail(_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    step = next(s for s in migrations._migrations if s.name == "m003_audit")
    monkeypatch.setattr(step, "fn", fail)
    with pytest.raises(StateError, match="is full"):
        open_database(path)
    monkeypatch.undo()
    memory = Memory.open(path)
    assert len(memory.list_incidents()) == 2
    memory.close()


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "state.db")
    session = memory.start_session()
    turn = memory.start_turn(session, "ask", "?", {})
    pages = memory.db.execute("PRAGMA page_count").fetchone()[0]
    memory.db.conn.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StateError, match="is full"):
        for number in range(50):
            memory.record_call(
                turn, {"call": str(number), "name": "n", "state": "ok", "content": "x" * 9000}
            )
    calls = memory.db.execute("SELECT count(*) FROM tool_calls").fetchone()[0]
    check = memory.audit.verify()
    memory.close()
    assert (check.entries, check.problems) == (calls, ())


def test_a_file_that_is_damaged_inside_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    memory = Memory.open(path)
    session = memory.start_session()
    for _ in range(200):
        memory.start_turn(session, "ask", "x" * 500, {})
    memory.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:40960] + b"\xff" * 40960 + whole[81920:])
    memory = Memory.open(path)
    try:
        with pytest.raises(StateError, match="damaged"):
            for name in memory.db.table_names():
                memory.file.rows(f"SELECT * FROM {name}")
    finally:
        memory.close()


def test_a_readable_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    assert prepare_file(path) == ""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    before = path.read_bytes()
    assert prepare_file(path) == ""
    assert path.read_bytes() == before


def test_the_head_of_the_audit_log_moves_with_a_corrupt_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    memory = Memory.open(path)
    memory.audit.record("change", {})
    memory.close()
    path.write_bytes(b"rubbish" * 1000)
    memory = Memory.open(path)
    assert "kept as" in memory.notice
    memory.audit.record("change", {})
    assert memory.audit.verify().problems == ()
    memory.close()
    assert len(list(tmp_path.glob("*.corrupt-*.audit-head"))) == 1
