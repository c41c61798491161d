"""Recorded incidents without a screen."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from tools.errors import UsageError
from tui.headless import style_of
from tui.headless_markdown import escape
from tui.headless_report import render, render_json
from tui.plain import glyph, one_line, write
from tui.running import settings_of


def list_incidents(args: argparse.Namespace) -> int:
    """Print the newest incidents, as a table or JSON."""
    if args.limit < 1:
        raise UsageError("--limit must be at least 1.")
    from agent.memory import Memory

    with contextlib.closing(Memory.open(settings_of(args).state)) as memory:
        found = memory.list_incidents(args.limit, args.status)
    if args.json:
        write(render_json(found))
    elif not found:
        write("No incidents are recorded. `gemma-sre diagnose` records what it finds.\n")
    else:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        write("".join(row(incident, encoding) + "\n" for incident in found))
    return 0


def show_incident(args: argparse.Namespace) -> int:
    """Print one incident with the report of its newest diagnosis."""
    from agent.memory import Memory

    with contextlib.closing(Memory.open(settings_of(args).state)) as memory:
        incident = memory.get_incident(args.id)
    if args.json:
        write(render_json(incident))
        return 0
    style = style_of(args)
    head = summary(incident)
    report = incident.get("report") or {}
    write(f"{head if style == 'text' else escape(head)}\n\n")
    write(render(report, style) if report else "It has no report.\n")
    return 0


def row(incident: dict[str, Any], encoding: str = "utf-8") -> str:
    """Return one incident on two lines of at most 80 columns."""
    verdict = one_line(incident.get("verdict", ""))
    first = [
        f"{glyph(verdict, encoding)} {one_line(incident['id']):<18}",
        f"{one_line(incident.get('last_seen', ''))[:16].replace('T', ' '):<16}",
        f"{one_line(incident.get('status', '')):<8}",
        f"{verdict:<12}",
        one_line(incident.get("service", "") or "-", 20),
    ]
    times = int(incident.get("count") or 1)
    title = one_line(incident.get("title", ""))
    tail = f" (seen {times} times)" if times > 1 else ""
    return " ".join(first).rstrip() + "\n    " + one_line(title, 74 - len(tail)) + tail


def summary(incident: dict[str, Any]) -> str:
    """Return an incident's own facts on one line."""
    opened = one_line(incident.get("opened", ""))[:16].replace("T", " ")
    seen = one_line(incident.get("last_seen", ""))[:16].replace("T", " ")
    line = f"Incident {one_line(incident['id'])}: {one_line(incident.get('status', ''))}, "
    line += f"opened {opened}, last seen {seen} UTC, {incident.get('count', 1)} diagnoses."
    if incident.get("resolution"):
        line += f" Resolution: {one_line(incident['resolution'])}"
    return line
