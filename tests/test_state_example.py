"""``state.db.example`` shows the schema that the migrations make, with a few incidents in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.memory import Memory

EXAMPLE = Path(__file__).parent.parent / "state.db.example"


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_its_schema_is_what_the_migrations_make(tmp_path: Path) -> None:
    fresh = tmp_path / "state.db"
    Memory.open(fresh).close()
    assert schema(EXAMPLE) == schema(fresh), "run `make state-example`"


def test_it_is_small_and_holds_a_few_incidents() -> None:
    assert EXAMPLE.stat().st_size < 500_000
    with closing(sqlite3.connect(f"file:{EXAMPLE}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM incidents").fetchone()
    assert count >= 3
