"""``gemma-sre runbook``: draft, list, show, check, approve, compare and export runbooks."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tui.headless_output import counted, deliver
from tui.plain import clean, one_line, write
from tui.running import settings_of

if TYPE_CHECKING:
    from agent.memory import Memory
    from agent.settings import Settings
    from runbooks.catalog import Catalog
    from runbooks.draft import Draft
    from runbooks.lint import Finding
    from runbooks.runbook import Runbook


def draft(args: argparse.Namespace) -> int:
    """Draft a runbook; return 0 if it lints without an error, else 1."""
    if not (args.logs or args.incident or args.pattern) or (
        args.incident and (args.logs or args.pattern)
    ):
        raise UsageError(
            "A draft needs one source.", fix="Give --logs FILE, --incident ID or --pattern ID."
        )
    if args.output and Path(args.output).exists():
        raise UsageError(f"{args.output} is there already.", fix="Name a new file.")
    from runbooks.draft import draft_runbook, summary

    with _opened(args) as (settings, memory, catalog):
        known = catalog.without(*_checked(catalog, args.without))
        case = _case(args, memory, known)
        made = draft_runbook(case, catalog, without=args.without, runbook_id=args.name)
        said = "without the model: --rules-only was given"
        if not args.rules_only:
            made, said = _with_model(made, settings, memory, catalog)
    if args.json:
        write(json.dumps(_draft_json(made, said), indent=2, ensure_ascii=False) + "\n")
        if args.output:
            deliver(made.text, args.output)
    else:
        deliver(made.text if args.output else clean(made.text), args.output)
        for line in [*summary(made).split("\n"), said, *map(_finding, made.findings)]:
            sys.stderr.write(one_line(line) + "\n")
    return 1 if any(found.severity == "error" for found in made.findings) else 0


def list_runbooks(args: argparse.Namespace) -> int:
    """Print the runbooks: shipped ones, and one's own with what they override."""
    with _opened(args) as (_, memory, catalog):
        books = catalog.find(" ".join(args.words)) if args.words else _all(catalog)
        books = tuple(b for b in books if args.status in ("", b.status))
        rows = [_row(book, memory, catalog) for book in books]
        problems = [str(problem) for problem in catalog.problems]
    if args.json:
        whole = {"runbooks": rows, "problems": problems}
        write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
        return 0
    for row in rows:
        mark = f", overrides the shipped {row['id']}" if row["overrides"] else ""
        write(
            f"{one_line(row['id']):<44} {row['status']:<10} {row['severity']:<8} "
            f"{one_line(row['title'], 70)}{mark}\n"
        )
    write(f"{counted(len(rows), 'runbook')}\n")
    for problem in problems:
        sys.stderr.write(f"not read: {one_line(problem)}\n")
    return 0


def show(args: argparse.Namespace) -> int:
    """Print a runbook as its file stands, or the version that an incident showed."""
    from runbooks.export import export_runbook, source_text
    from runbooks.runbook import parse_runbook

    if bool(args.name) == bool(args.digest):
        raise UsageError("Name a runbook, or a version by --digest.")
    with _opened(args) as (_, memory, catalog):
        if args.digest:
            kept = memory.approvals.text(args.digest)
            book = parse_runbook(kept["text"], f"{kept['runbook']}@{kept['digest'][:12]}")
        else:
            book = _named(args.name, catalog)
        approval = memory.approvals.of(book.digest)
        overrides = book.id in catalog.overrides and book.status == "approved"
    if args.json:
        write(export_runbook(book, "json", approval))
        return 0
    write(clean(source_text(book)))
    by = f"approved by {approval['who']} at {approval['time'][:16]}" if approval else book.status
    note = f"{book.path}: {by}; version {book.digest}"
    note += "; it overrides the shipped one" if overrides else ""
    sys.stderr.write(one_line(note) + "\n")
    return 0


def lint(args: argparse.Namespace) -> int:
    """Check runbooks; return 1 if one has an error."""
    from runbooks.lint import lint_runbook

    with _opened(args) as (_, _memory, catalog):
        _checked(catalog, args.without)
        names: list[Any] = [*args.names] or list(_all(catalog))
        books = [_named(name, catalog) if isinstance(name, str) else name for name in names]
        problems = [] if args.names else [str(problem) for problem in catalog.problems]
    found = {}
    for book in books:
        others = catalog.without(*(name for name in args.without if name not in book.excludes))
        found[book.path or book.id] = lint_runbook(book, others)
    errors = len(problems) + sum(f.severity == "error" for all_ in found.values() for f in all_)
    if args.json:
        whole = {
            "problems": problems,
            "runbooks": {path: [_finding_json(f) for f in all_] for path, all_ in found.items()},
        }
        write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
        return 1 if errors else 0
    for problem in problems:
        write(f"error: {one_line(problem)}\n")
    for path, all_ in found.items():
        write("".join(f"{one_line(path)}: {one_line(_finding(f))}\n" for f in all_))
    warnings = sum(len(all_) for all_ in found.values()) + len(problems) - errors
    write(
        f"{counted(len(books), 'runbook')} checked: {counted(errors, 'error')}, "
        f"{counted(warnings, 'warning')}\n"
    )
    return 1 if errors else 0


def approve(args: argparse.Namespace) -> int:
    """Approve a runbook after it was checked and shown: a person's act, recorded."""
    from agent.catalogs import runbook_folder
    from agent.runbook_approval import approve_runbook, proposal_of

    with _opened(args) as (settings, memory, catalog):
        book = _named(args.name, catalog, own=True)
        if args.withdraw:
            return _withdraw(args, memory, book)
        proposal = proposal_of(book, catalog, without=_checked(catalog, args.without))
        errors = [found for found in proposal.findings if found.severity == "error"]
        for found in proposal.findings:
            sys.stderr.write(one_line(_finding(found)) + "\n")
        if errors:
            raise UsageError(
                f"{book.id} has {counted(len(errors), 'error')}, so it can't be approved.",
                fix="Mend the file, then `gemma-sre runbook lint` it.",
            )
        for line in proposal.lines():
            sys.stderr.write(one_line(line) + "\n")
        if not _agreed(args, f"Approve {book.id}?"):
            sys.stderr.write("not approved\n")
            return 1
        done = approve_runbook(proposal, memory, runbook_folder(settings))
    if args.json:
        write(json.dumps(done, indent=2, ensure_ascii=False) + "\n")
    else:
        write(
            f"{one_line(done['runbook'])} approved by {one_line(done['who'])}, "
            f"version {done['digest'][:12]}, in {one_line(done['path'])}\n"
        )
    return 0


def diff(args: argparse.Namespace) -> int:
    """Print how two runbooks differ; return 1 if they do."""
    from agent.catalogs import runbook_folder
    from runbooks.catalog import Catalog
    from runbooks.lifecycle import diff_runbooks, versions

    with _opened(args) as (settings, _memory, catalog):
        after = _named(args.name, catalog, own=True)
        if args.other:
            before, after = after, _named(args.other, catalog)
        else:
            older = [
                b for b in versions(runbook_folder(settings), after.id) if b.path != after.path
            ]
            shipped = Catalog.load().get(after.id)
            found = older[0] if older else shipped
            if found is None or found.digest == after.digest:
                raise UsageError(
                    f"There is no other version of {after.id}.", fix="Name two runbooks."
                )
            before = found
    text = diff_runbooks(before, after)
    write(clean(text) + "\n" if text else "")
    return 1 if text else 0


def export(args: argparse.Namespace) -> int:
    """Write a runbook as Markdown, HTML or JSON."""
    from runbooks.export import export_runbook

    with _opened(args) as (_, memory, catalog):
        book = _named(args.name, catalog)
        text = export_runbook(book, args.form, memory.approvals.of(book.digest))
    deliver(text, args.output)
    return 0


@contextlib.contextmanager
def _opened(args: argparse.Namespace) -> Iterator[tuple[Settings, Memory, Catalog]]:
    from agent.catalogs import load_catalog
    from agent.memory import Memory

    settings = settings_of(args)
    with contextlib.closing(Memory.open(settings.state)) as memory:
        yield settings, memory, load_catalog(settings, memory)


def _case(args: argparse.Namespace, memory: Memory, catalog: Catalog) -> Any:
    from runbooks.draft_case import case_from_pattern, case_from_report
    from runbooks.draft_logs import case_from_logs

    if args.incident:
        return case_from_report(memory.get_incident(args.incident), catalog)
    if not args.pattern:
        return case_from_logs(args.logs, catalog)
    if not args.logs:
        return case_from_pattern(memory.patterns.get(args.pattern))
    from tools.logs.mining import mine_paths

    mined = mine_paths(args.logs, max_patterns=100_000)
    for pattern in mined.report.to_json()["patterns"]:
        if str(pattern["id"]).startswith(args.pattern):
            return case_from_pattern({**pattern, "service": mined.service})
    raise UsageError(f"The log has no pattern {args.pattern!r}.", fix="See `logs patterns FILE`.")


def _with_model(
    made: Draft, settings: Settings, memory: Memory, catalog: Catalog
) -> tuple[Draft, str]:
    from agent.drafting import draft_with_model

    written, prose = asyncio.run(draft_with_model(made, settings, memory, catalog))
    if written is made:
        dropped = f"; {counted(len(prose.dropped), 'sentence')} dropped" if prose.dropped else ""
        return made, f"without the model: {prose.why}{dropped}"
    return written, prose.note() + (f" Then it stopped: {prose.why}." if prose.why else "")


def _named(name: str, catalog: Catalog, *, own: bool = False) -> Runbook:
    from runbooks.runbook import parse_runbook

    if name.endswith(".md") or "/" in name:
        try:
            return parse_runbook(Path(name).read_text("utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "it is no UTF-8 text"
            raise UsageError(f"{name} can't be read: {reason}.") from error
    book = (catalog.drafts.get(name) if own else None) or catalog.get(name)
    if book is None:
        _checked(catalog, [name])
        raise UsageError(f"There is no runbook {name!r}.")
    return book


def _checked(catalog: Catalog, names: list[str]) -> list[str]:
    from agent.catalogs import leave_out

    leave_out(catalog, names)
    return names


def _all(catalog: Catalog) -> tuple[Runbook, ...]:
    drafts = [book for key, book in catalog.drafts.items() if catalog.runbooks.get(key) != book]
    return tuple(sorted([*catalog.runbooks.values(), *drafts], key=lambda b: (b.id, b.status)))


def _row(book: Runbook, memory: Memory, catalog: Catalog) -> dict[str, Any]:
    approval = memory.approvals.of(book.digest) if book.status == "approved" else None
    return {
        "id": book.id,
        "title": book.title,
        "status": book.status,
        "severity": book.severity,
        "kind": book.kind,
        "component": book.component,
        "path": book.path,
        "digest": book.digest,
        "overrides": book.id in catalog.overrides and book.status == "approved",
        "approved_by": approval["who"] if approval else None,
        "approved_at": approval["time"] if approval else None,
    }


def _withdraw(args: argparse.Namespace, memory: Memory, book: Runbook) -> int:
    count = memory.approvals.withdraw(book.id)
    if args.json:
        write(json.dumps({"runbook": book.id, "withdrawn": count}) + "\n")
    else:
        write(f"{one_line(book.id)}: {counted(count, 'approval')} withdrawn\n")
    return 0 if count else 1


def _agreed(args: argparse.Namespace, question: str) -> bool:
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("Nobody is there to approve.", fix="Read it, then give --yes.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _draft_json(made: Draft, said: str) -> dict[str, Any]:
    from runbooks.export import runbook_json

    signature = made.signature
    return {
        "runbook": runbook_json(made.runbook),
        "text": made.text,
        "source": made.case.source,
        "signature": {
            "on": signature.rule.on,
            "line": signature.rule.line,
            "must_match": signature.must_match,
            "must_not_match": signature.must_not_match,
            "stands_in_for": list(signature.overlaps),
        },
        "model": said,
        "findings": [_finding_json(found) for found in made.findings],
    }


def _finding(found: Finding) -> str:
    return f"{found.severity}: {found.where}: {found.message}"


def _finding_json(found: Finding) -> dict[str, str]:
    return {"severity": found.severity, "where": found.where, "message": found.message}
