"""The audit log without a screen: shown, verified, exported."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tui.headless_incidents import check_limit, open_memory
from tui.headless_output import deliver
from tui.headless_report import render_json
from tui.plain import one_line, write


def show_audit(args: argparse.Namespace) -> int:
    """Print the newest entries, oldest first."""
    from agent.audit import KINDS

    check_limit(args)
    if args.kind and args.kind not in KINDS:
        raise UsageError(f"There is no kind {args.kind!r}.", fix=f"Kinds: {', '.join(KINDS)}.")
    with open_memory(args) as memory:
        found = memory.audit.entries(args.limit, args.kind)
    if args.json:
        write(render_json(found))
    elif not found:
        write("The audit log holds nothing of that.\n")
    else:
        write("".join(f"{_row(entry)}\n" for entry in found))
    return 0


def verify_audit(args: argparse.Namespace) -> int:
    """Check the chain; exit code 1 when it was tampered with."""
    from agent.audit import check_entries, check_head

    if args.file:
        entries = list(_read(args.file))
        found = check_head(check_entries(entries), entries, args.head)
    else:
        with open_memory(args) as memory:
            found = memory.audit.verify(args.head)
    if args.json:
        write(render_json(asdict(found)))
    elif found.problems:
        write("The audit log was tampered with:\n")
        write("".join(f"- {one_line(problem)}\n" for problem in found.problems))
    else:
        write(f"The audit log is whole: {found.entries} entries.\n")
        write(f"Head, to be kept elsewhere: {found.head}\n")
    return 1 if found.problems else 0


def export_audit(args: argparse.Namespace) -> int:
    """Write every entry as it is stored, as JSON lines; ``audit verify FILE`` checks them."""
    with open_memory(args) as memory:
        rows = list(memory.audit.export())
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    deliver(render_json(rows) if args.json else lines, args.output)
    return 0


def _read(name: str) -> Iterator[dict[str, Any]]:
    from agent.audit import FIELDS

    try:
        text = Path(name).read_text(encoding="utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else None
        if rows is None:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} can't be read as an exported audit log: {error}.") from error
    for row in rows:
        if not (isinstance(row, dict) and set(FIELDS) <= set(row) and type(row["number"]) is int):
            raise UsageError(f"{name} holds something that is no audit entry.")
        yield row


def _row(entry: Mapping[str, Any]) -> str:
    details = entry["details"]
    about = [
        str(details[key])
        for key in ("name", "model", "host", "session", "call", "turn")
        if details.get(key)
    ]
    return (
        f"{entry['number']:>6}  {one_line(entry['time'])[:19].replace('T', ' ')}"
        f"  {one_line(entry['who'], 24)}  {one_line(entry['kind'])}"
        f"  {one_line(' '.join(about), 60)}  {one_line(entry['result'], 60)}"
    )
