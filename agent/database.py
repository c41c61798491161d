"""Opening state.db: a corrupt file is moved aside, an older schema migrated, a newer refused."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlite_utils import Database

from agent.migrations import migrations
from tools.config import utc_now
from tools.errors import StateError

# Two processes on one file wait for each other this long (ms) before one gives up.
BUSY_TIMEOUT_MS = 5_000
# What stands beside state.db and belongs to it: SQLite's two, and the head of the audit log.
HEAD_SUFFIX = ".audit-head"
_COMPANIONS = ("-wal", "-shm", HEAD_SUFFIX)

Row = dict[str, Any]


class StateFile:
    """state.db, opened; one instance a process, used from one thread."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self.clock = clock
        self.db, self.notice = open_database(path)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def now(self) -> str:
        """Return the time in UTC as it is stored: ISO 8601, which sorts as text."""
        return self.clock().astimezone(UTC).isoformat()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return what a query finds; raises StateError with a sentence."""
        try:
            cursor = self.db.conn.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.DatabaseError as error:
            raise explain(self.path, error) from error

    def write(self) -> contextlib.AbstractContextManager[None]:
        """Return one write transaction; see ``transaction``."""
        return transaction(self.db, self.path)

    def unused_id(self, prefix: str, size: int, taken: str) -> str:
        """Return a new id that the query ``taken`` does not find; inside ``write``.

        ``size`` is in bytes. Ids are short, for people to type, so chance alone would not do.
        """
        while True:
            found = prefix + secrets.token_hex(size)
            if not self.rows(taken, found):
                return found

    def execute(self, sql: str, *values: Any) -> int:
        """Run one statement inside ``write`` and return how many rows it changed."""
        return int(self.db.conn.execute(sql, values).rowcount)


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
            raise explain(path, error) from error
    except OSError as error:
        raise StateError(
            f"The folder of {path} can't be made: {error.strerror}.",
            fix="Name another place with GEMMA_SRE_STATE.",
        ) from error
    try:
        # Of two processes that find it corrupt, one moves it; the other finds a new one.
        with _migration_lock(path):
            aside = path if _readable(path) else _move_aside(path)
        database = _open(path)
    except sqlite3.DatabaseError as error:
        raise explain(path, error) from error
    if aside == path:
        return database, ""
    return database, f"{path} was not a readable database; it was kept as {aside.name}."


def prepare_file(path: Path) -> str:
    """Create an SQLite file for its owner alone, or move a corrupt one aside and say so.

    Returns the notice, empty when all is well.
    """
    _create_private(path)
    with _migration_lock(path):
        if _readable(path):
            return ""
        aside = _move_aside(path)
        _create_private(path)
    return f"{path} was not a readable database; it was kept as {aside.name}."


def _open(path: Path) -> Database:
    _create_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # The switch needs the file alone, and SQLite does not wait for that by itself.
            with _migration_lock(path):
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
            with _migration_lock(path):
                migrations.apply(db)
    except BaseException:
        connection.close()
        raise
    return db


def _create_private(path: Path) -> None:
    # Incidents are nobody else's business; SQLite gives its -wal and -shm the same mode.
    with contextlib.suppress(FileExistsError, IsADirectoryError, PermissionError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextlib.contextmanager
def _migration_lock(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(path.name + ".migrating"), timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        lock.acquire()
    except Timeout as error:
        raise StateError(
            f"{path} is being migrated by another process.", fix="Try again in a moment."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _readable(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        return not _is_corrupt(error)
    return True


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    path.rename(aside)
    for tail in _COMPANIONS:
        side = path.with_name(path.name + tail)
        if side.exists():
            side.rename(aside.with_name(aside.name + tail))
    return aside


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
        raise explain(path, error) from error


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "not a database" in text or "malformed" in text


def explain(path: Path, error: sqlite3.DatabaseError) -> StateError:
    """Return the sentence for an error of SQLite on ``path``."""
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
    if _is_corrupt(error):
        return StateError(
            f"{path} is damaged ({text}); nothing was overwritten.",
            fix="Move it away to start anew; `sqlite3 FILE .recover` saves what can be read.",
        )
    return StateError(f"{path} can't be used: {text}.")
