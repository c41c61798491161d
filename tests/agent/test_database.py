from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.database import open_database, transaction
from tools.errors import StateError


def test_a_corrupt_file_is_kept_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, but it may be somebody's" * 50)
    db, notice = open_database(path)
    db.close()
    aside = next(tmp_path.glob("state.db.corrupt-*"))
    assert aside.read_bytes().startswith(b"this is no database")
    assert aside.name in notice


def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db, _ = open_database(path)
    with transaction(db, path):
        db.conn.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('gemma-sre', 'm999_later', 'x')"
        )
    db.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="newer gemma-sre"):
        open_database(path)
    assert path.read_bytes() == before


def test_two_processes_may_create_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = (
        "import sys; from pathlib import Path; from agent.database import open_database;"
        "db, _ = open_database(Path(sys.argv[1])); print(len(db.table_names())); db.close()"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    counts = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(counts) == 1


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db, _ = open_database(path)
    insert = "INSERT INTO sessions (id, created) VALUES ('s-1', 'now')"
    with pytest.raises(RuntimeError), transaction(db, path):
        db.conn.execute(insert)
        raise RuntimeError
    assert db.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    db.close()


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db, _ = open_database(path)
    # SQLite's own page limit is what a full disk looks like from inside.
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.conn.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="is full"), transaction(db, path):
        for number in range(10_000):
            db.conn.execute(
                "INSERT INTO sessions (id, created, title) VALUES (?, 'now', ?)",
                (str(number), "x" * 1000),
            )
    assert db.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    db.close()


def test_a_path_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="can't be written"):
        open_database(tmp_path)


def test_a_locked_file_names_the_other_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db, _ = open_database(path)
    db.conn.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="another process"), transaction(db, path):
        pass
    other.close()
    db.close()
