"""Recorded incidents without a screen."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tui.headless import style_of
from tui.headless_markdown import escape
from tui.headless_output import counted, deliver
from tui.headless_report import render, render_json
from tui.plain import glyph, one_line, write
from tui.running import settings_of

if TYPE_CHECKING:
    from agent.incidents import EventKind
    from agent.memory import Memory

_EVENTS = {"seen": "seen again", "note": "note", "action": "action"}


def open_memory(args: argparse.Namespace) -> contextlib.closing[Memory]:
    """Open state.db for a ``with``; a notice, such as of a file moved aside, goes to stderr."""
    from agent.memory import Memory

    memory = Memory.open(settings_of(args).state)
    if memory.notice:
        sys.stderr.write(one_line(memory.notice) + "\n")
    return contextlib.closing(memory)


def list_incidents(args: argparse.Namespace) -> int:
    """Print the newest incidents, as a table or JSON."""
    check_limit(args)
    with open_memory(args) as memory:
        found = memory.list_incidents(args.limit, args.status)
    if args.json:
        write(render_json(found))
    elif not found:
        write("No incidents are recorded. `gemma-sre diagnose` records what it finds.\n")
    else:
        _write_rows(found)
    return 0


def search_incidents(args: argparse.Namespace) -> int:
    """Print the incidents that some words mean, the best match first."""
    check_limit(args)
    with open_memory(args) as memory:
        found = memory.incidents.search(" ".join(args.words), args.limit)
    if args.json:
        write(render_json(found))
    elif not found:
        write("No recorded incident holds these words.\n")
    else:
        _write_rows(found)
    return 0


def show_incident(args: argparse.Namespace) -> int:
    """Print one incident with its timeline and the report of its newest diagnosis."""
    with open_memory(args) as memory:
        incident = memory.get_incident(args.id)
    if args.json:
        write(render_json(incident))
        return 0
    style = style_of(args)
    mark = escape if style == "markdown" else str
    write("".join(f"{mark(line)}\n\n" for line in (summary(incident), runbooks(incident)) if line))
    bullet = "- " if style == "markdown" else "  "
    lines = [bullet + mark(line) for line in timeline(incident)]
    write("\n".join(lines) + "\n\n" if lines else "")
    report = incident.get("report") or {}
    write(render(report, style) if report else "It has no report.\n")
    return 0


def resolve_incident(args: argparse.Namespace) -> int:
    """Close an incident with what fixed it."""
    from agent.audit import whoami

    with open_memory(args) as memory:
        incident = memory.incidents.resolve(args.id, " ".join(args.words), whoami())
    write(render_json(incident) if args.json else summary(incident) + "\n")
    return 0


def note_incident(args: argparse.Namespace) -> int:
    """Add a note, or what was done, to an incident's timeline."""
    from agent.audit import whoami

    kind: EventKind = "action" if args.action else "note"
    with open_memory(args) as memory:
        incident = memory.incidents.note(args.id, " ".join(args.words), whoami(), kind)
    if args.json:
        write(render_json(incident))
    else:
        write(f"{one_line(incident['id'])}: {timeline(incident)[-1]}\n")
    return 0


def export_incident(args: argparse.Namespace) -> int:
    """Write the post-mortem of an incident, or all that is known of it as JSON."""
    from agent.postmortem import render_postmortem

    with open_memory(args) as memory:
        incident = memory.get_incident(args.id)
    deliver(render_json(incident) if args.json else render_postmortem(incident), args.output)
    return 0


def check_limit(args: argparse.Namespace) -> None:
    """Raise UsageError for a limit that lists nothing."""
    if args.limit < 1:
        raise UsageError("--limit must be at least 1.")


def row(incident: dict[str, Any], encoding: str = "utf-8") -> str:
    """Return one incident on two lines of at most 80 columns, a third when it was resolved."""
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
    shown = " ".join(first).rstrip() + "\n    " + one_line(title, 74 - len(tail)) + tail
    if incident.get("resolution"):
        shown += f"\n    fixed by: {one_line(incident['resolution'], 64)}"
    return shown


def summary(incident: dict[str, Any]) -> str:
    """Return an incident's own facts on one line."""
    opened = one_line(incident.get("opened", ""))[:16].replace("T", " ")
    seen = one_line(incident.get("last_seen", ""))[:16].replace("T", " ")
    line = f"Incident {one_line(incident['id'])}: {one_line(incident.get('status', ''))}, "
    times = int(incident.get("count") or 1)
    line += f"opened {opened}, last seen {seen} UTC, {counted(times, 'diagnosis', 'diagnoses')}."
    if incident.get("resolution"):
        line += f" Resolution: {one_line(incident['resolution'])}"
    return line


def runbooks(incident: dict[str, Any]) -> str:
    """Return which runbooks were shown, with the content they had then; empty for none."""
    shown = [
        f"{one_line(link['runbook'])} ({one_line(link['digest'])[:12]})"
        for link in incident.get("runbooks", [])
    ]
    return f"Runbooks as they were shown: {', '.join(shown)}" if shown else ""


def timeline(incident: dict[str, Any]) -> list[str]:
    """Return an incident's events, one a line, oldest first."""
    return [
        f"{one_line(event['time'])[:16].replace('T', ' ')}  "
        f"{_EVENTS.get(event['kind'], one_line(event['kind'])):<10}  {one_line(event['text'])}"
        + (f" ({one_line(event['author'])})" if event.get("author") else "")
        for event in incident.get("timeline", [])
    ]


def _write_rows(found: Iterable[dict[str, Any]]) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    write("".join(row(incident, encoding) + "\n" for incident in found))
