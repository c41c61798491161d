"""The audit log: who did what, when, with what result; append-only and chained by hashes.

Each entry holds the hash of the one before, so an entry that was edited or removed is found. The
head (number and hash of the last entry) is also kept in a file beside state.db, and the highest
number by SQLite itself, so a cut tail is found too. Whoever can write both files can forge both:
copy the head elsewhere (``audit verify`` prints it) if that matters.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from filelock import FileLock

from agent.database import HEAD_SUFFIX, Row, StateFile
from agent.messages import Message, Reply
from agent.storable import storable, storable_text
from tools.errors import StateError, UsageError

Kind = Literal["model_request", "tool_call", "approval", "refusal", "change", "deletion"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FIELDS = ("number", "time", "who", "kind", "details", "result", "previous", "hash")
GUARDS = ("audit_no_update", "audit_no_delete", "audit_in_order")
MAX_PROBLEMS = 20
_RESULT_LIMIT = 400


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What ``verify`` found: the log is whole when there are no problems."""

    entries: int
    head: str  # "number:hash" of the last entry, to be kept elsewhere
    problems: tuple[str, ...] = ()


class Audit:
    """The audit log of one state.db."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._head = file.path.with_name(file.path.name + HEAD_SUFFIX)

    def record(self, kind: Kind, details: Mapping[str, Any], *, result: str = "ok") -> None:
        """Append one entry, in a transaction of its own; ``details`` must be JSON."""
        with self._file.write():
            self.append(kind, details, result=result)
        self.publish()

    def append(self, kind: Kind, details: Mapping[str, Any], *, result: str = "ok") -> None:
        """Append one entry inside a transaction; call ``publish`` after it."""
        last = self._last()
        entry: Row = {
            "number": last["number"] + 1,
            "time": self._file.now(),
            "who": whoami(),
            "kind": kind,
            "details": json.dumps(storable(details), sort_keys=True, default=str),
            "result": storable_text(result)[:_RESULT_LIMIT],
            "previous": last["hash"],
        }
        self._file.execute(
            "INSERT INTO audit (number, time, who, kind, details, result, previous, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *entry.values(),
            entry_hash(entry),
        )

    def publish(self) -> None:
        """Write the head beside state.db. A head that lags behind after a crash is no error."""
        # The log is committed; a head that can't be written must not fail what it tells of.
        with (
            contextlib.suppress(OSError),
            FileLock(self._head.with_name(self._head.name + ".lock")),
        ):
            last, known = self._last(), self._read_head()
            if known is None or known[0] < last["number"]:
                draft = self._head.with_name(self._head.name + ".new")
                draft.write_text(f"{last['number']}:{last['hash']}\n", encoding="ascii")
                os.replace(draft, self._head)

    def entries(self, limit: int = 0, kind: str = "") -> list[Row]:
        """Return entries, oldest first; with a limit, the newest ones only."""
        rows = self._file.rows(
            "SELECT * FROM audit WHERE ? IN ('', kind) ORDER BY number DESC LIMIT ?",
            kind,
            limit or -1,
        )
        return [{**row, "details": json.loads(row["details"])} for row in reversed(rows)]

    def export(self) -> Iterator[Row]:
        """Yield every entry as it is stored, oldest first; ``check_entries`` checks them."""
        for row in self._file.db.conn.execute("SELECT * FROM audit ORDER BY number"):
            yield dict(zip(FIELDS, row, strict=True))

    def verify(self, head: str = "") -> AuditCheck:
        """Check every entry, the guards, and the head; ``head`` is one that was kept elsewhere."""
        found = check_entries(self.export())
        problems = list(found.problems)
        number = parse_head(found.head)[0]
        there = {row["name"] for row in self._file.rows("SELECT name FROM sqlite_master")}
        missing = [guard for guard in GUARDS if guard not in there]
        if missing:
            problems.append(f"the guards {', '.join(missing)} were removed from state.db")
        highest = self._file.rows("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")
        if highest and highest[0]["seq"] > number:
            problems.append(f"entries {number + 1} to {highest[0]['seq']} were cut off the end")
        kept = self._read_head()
        if kept is not None:
            problems += self._against(kept, number, self._head.name)
        elif self._head.exists():
            problems.append(f"{self._head.name} can't be read as a head")
        elif found.entries:
            problems.append(f"{self._head.name}, which holds the head, is missing")
        if head:
            problems += self._against(parse_head(head), number, "the head that was given")
        return AuditCheck(found.entries, found.head, tuple(dict.fromkeys(problems))[:MAX_PROBLEMS])

    def _against(self, head: tuple[int, str], number: int, name: str) -> list[str]:
        rows = self._file.rows("SELECT hash FROM audit WHERE number = ?", head[0])
        return _compare(head, number, rows[0]["hash"] if rows else "", name)

    def _last(self) -> Row:
        rows = self._file.rows("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
        return rows[0] if rows else {"number": 0, "hash": ""}

    def _read_head(self) -> tuple[int, str] | None:
        try:
            return parse_head(self._head.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError, UsageError):
            return None


def check_entries(entries: Iterable[Mapping[str, Any]]) -> AuditCheck:
    """Check the chain of exported entries, oldest first; where it breaks, go on after the break."""
    problems: list[str] = []
    number, previous, count = 0, "", 0
    for entry in entries:
        count += 1
        here = int(entry["number"])
        if here > number + 1:
            one = here == number + 2
            gone = f"entry {here - 1} is" if one else f"entries {number + 1} to {here - 1} are"
            problems.append(f"{gone} missing")
        elif here <= number:
            problems.append(f"entry {here} stands after entry {number}")
        elif entry["previous"] != previous:
            problems.append(f"entry {here} does not follow the entry before it: one was changed")
        if entry_hash(entry) != entry["hash"]:
            problems.append(f"entry {here} was changed")
        number, previous = here, str(entry["hash"])
    return AuditCheck(count, f"{number}:{previous}", tuple(problems[:MAX_PROBLEMS]))


def entry_hash(entry: Mapping[str, Any]) -> str:
    """Return SHA-256 over the fields of an entry but its hash, as a JSON list in their order."""
    fields = [entry[name] for name in FIELDS[:-1]]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def check_head(check: AuditCheck, entries: Iterable[Mapping[str, Any]], head: str) -> AuditCheck:
    """Return ``check`` with what speaks against a head that was kept elsewhere, if one is given."""
    if not head:
        return check
    known = parse_head(head)
    found = next((str(e["hash"]) for e in entries if e["number"] == known[0]), "")
    more = _compare(known, parse_head(check.head)[0], found, "the head that was given")
    return AuditCheck(check.entries, check.head, (*check.problems, *more))


def parse_head(text: str) -> tuple[int, str]:
    """Return number and hash of ``number:hash``; raises UsageError for anything else."""
    number, _, value = text.strip().partition(":")
    if not (number.isdecimal() and number.isascii() and len(number) < 19):
        raise UsageError(f"{text[:80]!r} is no head.", fix="It has the form number:hash.")
    return int(number), value


def _compare(head: tuple[int, str], last: int, found: str, name: str) -> list[str]:
    if head[0] > last:
        return [f"{name} knows entry {head[0]}, and the log ends with entry {last}"]
    if head[0] and found != head[1]:
        return [f"entry {head[0]} is not the one that {name} knows"]
    return []


def whoami() -> str:
    """Return the user and the machine that act, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no entry in the password file, as in some containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def audited(
    audit: Audit, turn: str, url: str, model: str, ask: Callable[..., Awaitable[Reply]]
) -> Callable[..., Awaitable[Reply]]:
    """Return ``ask`` (``Brain.reply``) so that each request is audited: sizes, never contents."""

    async def asked(
        messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], **options: Any
    ) -> Reply:
        details = {
            "turn": turn,
            "model": model,
            "host": urlsplit(url).netloc.rpartition("@")[2],
            "messages": len(messages),
            "characters": len(json.dumps([*messages, *tools], default=str)),
            "tools": len(tools),
            "max_tokens": options.get("max_tokens"),
        }
        started = time.monotonic()
        try:
            reply = await ask(messages, tools, **options)
        except BaseException as error:
            details["seconds"] = round(time.monotonic() - started, 3)
            why = str(error) or type(error).__name__
            with contextlib.suppress(StateError):  # the request's own failure is what matters
                audit.record("model_request", details, result=f"failed: {why}")
            raise
        details |= {
            "seconds": round(time.monotonic() - started, 3),
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "calls": [call.name for call in reply.calls],
        }
        audit.record("model_request", details, result=reply.finish or "ok")
        return reply

    return asked
