"""``gemma-sre logs``: read, mine, follow, and find the root cause, without a screen."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tools.errors import UsageError
from tui.logs_text import pattern_lines, record_json, record_line, root_cause_lines
from tui.plain import one_line, write
from tui.running import settings_of

if TYPE_CHECKING:
    from agent.log_reading import LogRequest
    from agent.settings import Settings
    from tools.domain import LogRecord
    from tools.logs.mining import Mined


def read(args: argparse.Namespace) -> int:
    """Print log entries, of files or of the cloud."""
    if args.limit < 1:
        raise UsageError("--limit must be at least 1.")
    if args.files:
        return _read_files(args)
    return asyncio.run(_read_cloud(args))


def patterns(args: argparse.Namespace) -> int:
    """Print the patterns of logs, or with --assignments the pattern of each line."""
    if args.maximum < 1 or args.limit < 1:
        raise UsageError("--max and --limit must be at least 1.")
    settings = settings_of(args)
    if args.files:
        mined = _mine_files(args, settings)
    elif args.assignments:
        raise UsageError("--assignments needs a file.", fix="Name the log file.")
    else:
        mined = asyncio.run(_mine_cloud(args, settings))
    for problem in mined.problems:
        _say(problem)
    if args.assignments:
        write("".join(f"{one}\n" for one in mined.report.assignments))
    elif args.json:
        whole = {"service": mined.service, "source": mined.source} | mined.report.to_json()
        write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    else:
        write("".join(f"{line}\n" for line in pattern_lines(mined.report)))
    return 0


def root_cause(args: argparse.Namespace) -> int:
    """Print the exception behind the wrappers, its reasons, and the configuration at fault.

    Returns 0 if there is one, 3 if nothing in the files failed.
    """
    from agent.catalogs import load_catalog
    from agent.memory import Memory
    from runbooks.causes import causes_of

    settings = settings_of(args)
    with contextlib.closing(Memory.open(settings.state)) as memory:
        catalog = load_catalog(settings, memory, without=args.without_runbook)
    found = causes_of(args.files, catalog)
    for problem in found.problems:
        _say(problem)
    if args.json:
        write(json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        write("".join(f"{line}\n" for line in root_cause_lines(found)))
    return 0 if found.causes else 3


def tail(args: argparse.Namespace) -> int:
    """Print log entries as they come, until Ctrl-C."""
    if len(args.files) > 1:
        raise UsageError("Only one file can be followed at a time.")
    if args.poll <= 0:
        raise UsageError("--poll must be more than 0.")
    if args.files == ["-"]:
        raise UsageError("Standard input can't be followed.", fix="`gemma-sre logs read -`.")
    asyncio.run(_tail(args))
    return 0


def _read_files(args: argparse.Namespace) -> int:
    from tools.logs.sources import read_logs

    source = read_logs(args.files)
    for shown, record in enumerate(_chosen(source, args)):
        if shown == args.limit:
            _say(f"{args.limit} entries were shown; --limit N shows more")
            break
        _print(record, args)
    for problem in source.report.problems():
        _say(problem)
    return 0


def _chosen(records: Iterable[LogRecord], args: argparse.Namespace) -> Iterator[LogRecord]:
    from agent.log_reading import severity_of

    least = severity_of(args.severity)
    for record in records:
        wanted = args.revision in ("", record.revision) and record.severity >= least
        if wanted and args.contains in record.text:
            yield record


async def _read_cloud(args: argparse.Namespace) -> int:
    from agent.log_reading import open_logs

    async with _settings(args) as settings, open_logs(settings, _request(args)) as logs:
        start, end = logs.window
        last: list[Any] = []

        def turned(page: Any) -> None:
            last[:] = [page]
            _progress(f"{page.entries} entries, {page.pages} pages")

        async for record in logs.read(args.limit, page_token=args.page_token, on_page=turned):
            _print(record, args)
    _progress("")
    if last and last[0].token:
        _say(
            f"{last[0].entries} entries were shown and there are more; go on with "
            f"--from {start.isoformat()} --to {end.isoformat()} --page-token {last[0].token}"
        )
    return 0


def _mine_files(args: argparse.Namespace, settings: Settings) -> Mined:
    from tools.logs.mining import mine_paths

    if args.maximum < 1:
        raise UsageError("--max must be at least 1.")
    baseline = mine_paths([args.baseline]).report if args.baseline else None
    options: dict[str, Any] = {
        "service": args.service,
        "max_patterns": args.maximum,
        "assignments": args.assignments,
        "baseline": baseline,
    }
    if args.no_record or args.assignments:
        return mine_paths(args.files, **options)
    from agent.memory import Memory

    with contextlib.closing(Memory.open(settings.state)) as memory:

        def known(service: str, first: str, source: str) -> Any:
            return memory.patterns.known(service, before=first, source=source)

        mined = mine_paths(args.files, known=known, **options)
        memory.patterns.record(mined.service, mined.report, source=mined.source)
    return mined


async def _mine_cloud(args: argparse.Namespace, settings: Settings) -> Mined:
    from agent.log_reading import open_logs
    from agent.memory import Memory

    async with _settings(args, settings) as chosen:
        with contextlib.closing(Memory.open(chosen.state)) as memory:
            async with open_logs(chosen, _request(args)) as logs:
                mined = await logs.mine(
                    args.limit,
                    max_patterns=args.maximum,
                    memory=None if args.no_record else memory,
                    on_page=lambda page: _progress(f"{page.entries} entries"),
                )
            if not args.no_record:
                memory.patterns.record(mined.service, mined.report, source=mined.source)
    _progress("")
    return mined


async def _tail(args: argparse.Namespace) -> None:
    from tools.logs.tail import tail_file

    if args.files:
        async for record in tail_file(args.files[0], poll=args.poll, rounds=args.rounds):
            if args.contains in record.text:
                _print(record, args)
                sys.stdout.flush()
        return
    from agent.log_reading import open_logs

    request = _request(args, since="1m")
    async with _settings(args) as settings, open_logs(settings, request) as logs:
        async for record in logs.tail(poll=args.poll, rounds=args.rounds, on_wait=_say):
            _print(record, args)
            sys.stdout.flush()


@contextlib.asynccontextmanager
async def _settings(
    args: argparse.Namespace, settings: Settings | None = None
) -> AsyncIterator[Settings]:
    chosen = settings or settings_of(args)
    if not args.demo:
        yield chosen
        return
    from agent.demo import open_demo

    async with open_demo(args.demo, chosen) as simulated:
        yield simulated


def _request(args: argparse.Namespace, since: str = "1h") -> LogRequest:
    from agent.log_reading import LogRequest

    if args.since and (args.start or args.end):
        raise UsageError("--since and --from/--to exclude each other.", fix="Give one of them.")
    return LogRequest(
        service=args.service,
        kind=args.kind,
        since=args.since or since,
        start=args.start,
        end=args.end,
        revision=args.revision,
        contains=getattr(args, "contains", ""),
        severity=getattr(args, "severity", ""),
        newest_first=getattr(args, "newest", False),
    )


def _print(record: LogRecord, args: argparse.Namespace) -> None:
    if args.json:
        write(json.dumps(record_json(record), ensure_ascii=False) + "\n")
    else:
        write(record_line(record) + "\n")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{one_line(text, 78)}")
        sys.stderr.flush()


def _say(sentence: str) -> None:
    sys.stderr.write(one_line(sentence) + "\n")
