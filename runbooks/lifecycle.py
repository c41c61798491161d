"""A runbook's life: draft → reviewed → approved → superseded, with the old versions kept.

The files of a user's folder are the versions; that a person approved one is recorded elsewhere,
by its digest, and an edit voids it. Nothing here approves by itself.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

from runbooks.runbook import Runbook, Status, parse_runbook, render_runbook
from tools.errors import RunbookError, UsageError

_DRAFT_MARK = re.compile(r"^\*\*Draft, not reviewed\.\*\*[^\n]*\n+", re.MULTILINE)
# From each status to the ones that may follow it.
TRANSITIONS: dict[Status, tuple[Status, ...]] = {
    "draft": ("reviewed", "approved", "superseded"),
    "reviewed": ("draft", "approved", "superseded"),
    "approved": ("draft", "superseded"),
    "superseded": (),
    "shipped": (),
}


def advance(runbook: Runbook, status: Status) -> Runbook:
    """Return the runbook with another status. Raises UsageError if it can't follow."""
    allowed = TRANSITIONS[runbook.status]
    if status not in allowed:
        raise UsageError(
            f"{runbook.id} is {runbook.status} and can't become {status}.",
            fix=f"It can become: {', '.join(allowed) or 'nothing else; save a copy as a draft'}.",
        )
    moved = replace(runbook, status=status, text="")
    return replace(moved, text=render_runbook(moved))


def save_runbook(runbook: Runbook, folder: Path) -> Path:
    """Write the runbook into a folder, and keep the version that was in force as superseded.

    The file is replaced as a whole or not at all. Raises RunbookError if the folder can't be
    written.
    """
    path = folder / f"{runbook.id}.md"
    text = render_runbook(replace(runbook, path=str(path)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _keep(path, parse_runbook(path.read_text("utf-8"), str(path)), runbook)
        _write(path, text)
    except OSError as error:
        raise RunbookError(
            f"{path}: it can't be written: {error.strerror}.",
            fix="Choose another folder, or correct its permissions.",
            path=str(path),
        ) from error
    return path


def approved_text(runbook: Runbook, day: date) -> str:
    """Return a runbook's own text as an approved one: the status, the day, no mark of a draft.

    The rest stays as the person wrote it, comments included. Raises UsageError if the status
    can't become approved.
    """
    if "approved" not in TRANSITIONS[runbook.status] and runbook.status != "approved":
        advance(runbook, "approved")  # raises with what it can become
    text = runbook.text or render_runbook(runbook)
    front, mark, body = text.partition("\n---\n")
    for key, value in (("status", "approved"), ("reviewed", day.isoformat())):
        line = re.compile(rf"^{key}:.*$", re.MULTILINE)
        front = (
            line.sub(f"{key}: {value}", front) if line.search(front) else f"{front}\n{key}: {value}"
        )
    return front + mark + _DRAFT_MARK.sub("", body, count=1)


def save_text(text: str, runbook: Runbook, folder: Path) -> Path:
    """Write a runbook's text as it stands into a folder, the version before kept as superseded.

    A runbook that already lies in the folder is replaced where it is. Raises RunbookError if the
    folder can't be written.
    """
    path = Path(runbook.path) if runbook.path else folder / f"{runbook.id}.md"
    if not path.is_absolute() or folder.resolve() not in path.resolve().parents:
        path = folder / f"{runbook.id}.md"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            old = parse_runbook(path.read_text("utf-8"), str(path))
            _keep(path, old, parse_runbook(text, str(path)))
        _write(path, text)
    except OSError as error:
        raise RunbookError(
            f"{path}: it can't be written: {error.strerror}.",
            fix="Choose another folder, or correct its permissions.",
            path=str(path),
        ) from error
    return path


def versions(folder: Path, runbook_id: str) -> tuple[Runbook, ...]:
    """Return the versions of a runbook in a folder: the current one first, then newest first."""
    numbered = sorted(
        folder.glob(f"{runbook_id}.v*.md"), key=lambda path: _number(path, runbook_id), reverse=True
    )
    current = folder / f"{runbook_id}.md"
    return tuple(
        parse_runbook(path.read_text("utf-8"), str(path))
        for path in ([current] if current.exists() else []) + numbered
    )


def diff_runbooks(before: Runbook, after: Runbook) -> str:
    """Return the unified diff of two runbooks' files, empty when they are the same."""
    return "\n".join(
        difflib.unified_diff(
            (before.text or render_runbook(before)).splitlines(),
            (after.text or render_runbook(after)).splitlines(),
            before.path or f"{before.id} ({before.status})",
            after.path or f"{after.id} ({after.status})",
            lineterm="",
        )
    )


def _keep(path: Path, old: Runbook, new: Runbook) -> None:
    # Drafts are overwritten; what a person reviewed or approved stays readable.
    if old.status not in ("reviewed", "approved") or old.digest == new.digest:
        return
    number = 1 + max(
        (_number(found, old.id) for found in path.parent.glob(f"{old.id}.v*.md")), default=0
    )
    target = path.parent / f"{old.id}.v{number}.md"
    _write(target, render_runbook(replace(old, status="superseded", path=str(target))))


def _number(path: Path, runbook_id: str) -> int:
    number = path.name.removeprefix(f"{runbook_id}.v").removesuffix(".md")
    return int(number) if number.isdecimal() else 0


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
