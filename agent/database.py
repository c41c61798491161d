"""Opening state.db: a corrupt file is moved aside, an older schema migrated, a newer refused."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from sqlite_utils import Database

from agent.migrations import migrations
from tools.errors import StateError

# Two processes on one file wait for each other this long (ms) before one gives up.
BUSY_TIMEOUT_MS = 5_000


def open_database(path: Path) -> tuple[Database, str]:
    """Open and migrate ``path``; return the database and a notice, empty when all is well.

    Raises StateError when the file can't be opened, is newer than this program, or the disk
    is full. A corrupt file is moved aside, never overwritten.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _open(path), ""
    except sqlite3.DatabaseError as error:
        if not _is_corrupt(error):
            raise _explain(path, error) from error
    except OSError as error:
        raise StateError(
            f"The folder of {path} can't be made: {error.strerror}.",
            fix="Name another place with GEMMA_SRE_STATE.",
        ) from error
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    path.rename(aside)
    for tail in ("-wal", "-shm"):
        side = path.with_name(path.name + tail)
        if side.exists():
            side.rename(aside.with_name(aside.name + tail))
    try:
        return _open(path), f"{path} was not a readable database; it was kept as {aside.name}."
    except sqlite3.DatabaseError as error:
        raise _explain(path, error) from error


def _open(path: Path) -> Database:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        db = Database(connection, execute_plugins=False)
        newer = sorted({step.name for step in migrations.applied(db)} - _known_names())
        if newer:
            raise StateError(
                f"{path} was written by a newer gemma-sre (it has the step {newer[-1]}).",
                fix="Update gemma-sre, or name another file with GEMMA_SRE_STATE.",
            )
        if migrations.pending(db):
            # Two processes may start at once on a new file: one migrates, the other waits.
            with FileLock(path.with_name(path.name + ".migrating"), timeout=BUSY_TIMEOUT_MS / 1000):
                migrations.apply(db)
    except BaseException:
        connection.close()
        raise
    return db


def _known_names() -> set[str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return {
            step.name for step in migrations.pending(Database(connection, execute_plugins=False))
        }


@contextlib.contextmanager
def transaction(db: Database, path: Path) -> Iterator[None]:
    """Run a block in one write transaction; all of it lands on disk, or none.

    Raises StateError with a sentence for a full disk, a locked or a read-only file.
    """
    try:
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            db.conn.rollback()
            raise
        db.conn.commit()
    except sqlite3.DatabaseError as error:
        with contextlib.suppress(sqlite3.Error):
            db.conn.rollback()
        raise _explain(path, error) from error


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "not a database" in text or "malformed" in text


def _explain(path: Path, error: sqlite3.DatabaseError) -> StateError:
    text = str(error)
    if "full" in text:
        return StateError(
            f"The disk with {path} is full; nothing was written.", fix="Free some room."
        )
    if "locked" in text or "busy" in text:
        return StateError(
            f"{path} is held by another process.", fix="Try again, or end the other gemma-sre."
        )
    if "readonly" in text or "unable to open" in text:
        return StateError(
            f"{path} can't be written: {text}.", fix="Name another place with GEMMA_SRE_STATE."
        )
    return StateError(f"{path} can't be used: {text}.")
