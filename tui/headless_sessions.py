"""Sessions without a screen: listed, shown, named, exported, deleted; and old ones pruned."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from tools.errors import UsageError
from tui.headless_incidents import check_limit, open_memory
from tui.headless_markdown import escape, fenced
from tui.headless_output import confirm, counted, deliver
from tui.headless_report import render_json
from tui.plain import clean, one_line, write


def list_sessions(args: argparse.Namespace) -> int:
    """Print the sessions, the last used first."""
    check_limit(args)
    with open_memory(args) as memory:
        found = memory.sessions.recent(args.limit)
    if args.json:
        write(render_json(found))
    elif not found:
        write("No sessions are recorded.\n")
    else:
        write("".join(f"{_row(session)}\n" for session in found))
    return 0


def show_session(args: argparse.Namespace) -> int:
    """Print a session: its questions, verdicts and answers."""
    with open_memory(args) as memory:
        session = memory.sessions.get(args.id)
    write(render_json(session) if args.json else "\n".join(_shown(session)) + "\n")
    return 0


def rename_session(args: argparse.Namespace) -> int:
    """Give a session a name."""
    with open_memory(args) as memory:
        session = memory.sessions.rename(args.id, " ".join(args.words))
    if args.json:
        write(render_json({key: session[key] for key in ("id", "title")}))
    else:
        write(f"{one_line(session['id'])} is called {one_line(session['title'])} now.\n")
    return 0


def export_session(args: argparse.Namespace) -> int:
    """Write a session as Markdown, or with all tool calls and evidence as JSON."""
    with open_memory(args) as memory:
        session = memory.sessions.export(args.id)
    deliver(render_json(session) if args.json else render_session(session), args.output)
    return 0


def delete_session(args: argparse.Namespace) -> int:
    """Forget a session with its turns and checkpoints; its incidents stay."""
    from agent.retention import delete_session as forget

    with open_memory(args) as memory:
        session = memory.sessions.get(args.id)
        turns = counted(len(session["turns"]), "turn")
        if not confirm(args, f"Forget session {one_line(session['id'])} with {turns}?"):
            return 1
        found = forget(memory, session["id"])
    write(render_json({"deleted": found}) if args.json else f"Session {found} is forgotten.\n")
    return 0


def prune_state(args: argparse.Namespace) -> int:
    """Forget what is old and give the room back."""
    from dataclasses import asdict

    from agent.gather import parse_duration
    from agent.retention import prune

    if not args.older_than:
        raise UsageError("--older-than is needed.", fix="Write it like --older-than 90d.")
    age = parse_duration(args.older_than)
    with open_memory(args) as memory:
        plan = prune(memory, age, keep_incidents=args.keep_incidents, dry_run=True)
        if not args.dry_run:
            if not confirm(args, f"Forget {_counts(plan)}?"):
                return 1
            plan = prune(memory, age, keep_incidents=args.keep_incidents)
    if args.json:
        write(render_json(asdict(plan)))
        return 0
    write(f"{'Would forget' if plan.dry_run else 'Forgot'} {_counts(plan)}.\n")
    if not plan.dry_run:
        write(f"Size: {_size(plan.before)} before, {_size(plan.after)} after.\n")
    if plan.held:
        write(f"Kept: {counted(plan.held, 'old session')} that another gemma-sre has open.\n")
    if plan.open_incidents:
        kept = counted(plan.open_incidents, "old incident")
        write(f"Kept: {kept} that nobody resolved.\n")
    write("The audit log stays whole.\n")
    return 0


def render_session(session: Mapping[str, Any]) -> str:
    """Return a session as Markdown: what was asked, what was found, what was answered."""
    title = session["title"] or session["id"]
    lines = [f"# Session {escape(one_line(title))}", ""]
    lines += [f"{escape(session['id'])}, {_time(session['created'])} to {_time(session['used'])}."]
    for turn in session["turns"]:
        lines += ["", f"## {escape(one_line(turn['question'] or turn['kind']))}", ""]
        lines += [f"{_time(turn['started'])}, {escape(_outcome(turn))}."]
        if turn["answer"]:
            lines += ["", *fenced(clean(turn["answer"]).strip("\n"))]
        for call in turn.get("calls", []):
            lines += ["", f"- {escape(call['name'])} ({escape(call['state'])}): "]
            lines[-1] += escape(one_line(call["summary"], 200))
    return "\n".join(lines) + "\n"


def _shown(session: Mapping[str, Any]) -> Iterator[str]:
    yield f"Session {one_line(session['id'])} {one_line(session['title'] or '')}".rstrip()
    for turn in session["turns"]:
        yield f"\n{_time(turn['started'])}  > {one_line(turn['question'])}  [{_outcome(turn)}]"
        yield from (f"  {line}" for line in clean(turn["answer"] or "").splitlines())


def _outcome(turn: Mapping[str, Any]) -> str:
    report = turn.get("report") or {}
    parts = [turn["state"], report.get("verdict"), report.get("incident"), turn.get("author")]
    return ", ".join(one_line(part) for part in parts if part)


def _row(session: Mapping[str, Any]) -> str:
    turns = counted(session["turns"], "turn")
    return (
        f"{one_line(session['id']):<12} {_time(session['used'])}  {turns:>9}"
        f"  {one_line(session['title'] or '-', 36)}"
    )


def _counts(plan: Any) -> str:
    return (
        f"{counted(plan.sessions, 'session')} with {counted(plan.turns, 'turn')},"
        f" {counted(plan.incidents, 'resolved incident')}"
        f" and the checkpoints of {counted(plan.checkpoints, 'turn')}"
    )


def _time(text: str) -> str:
    return one_line(text)[:16].replace("T", " ")


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
