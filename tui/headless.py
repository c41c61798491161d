"""A diagnosis without a screen: progress on stderr, the result on stdout, the verdict as code."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from agent.events import Event, TurnFailed, VerdictReached
from tools.errors import GemmaSreError
from tui.crash import watch_loop
from tui.headless_progress import Progress
from tui.headless_report import Style, render
from tui.plain import write
from tui.running import mark_simulated, open_session, preload, request_of, settings_of

EXIT_CODES = {"healthy": 0, "confirmed": 1, "likely": 1, "insufficient": 3}


def diagnose(args: argparse.Namespace) -> int:
    """Run ``gemma-sre diagnose``; return 0 healthy, 1 a cause, 3 insufficient, 2 not possible."""
    request_of(args)  # what makes no sense is said before two seconds of imports
    # By rules alone, and from files, the model is rarely asked: then its client loads when it is.
    preload(bool(args.demo), brain=not (args.rules_only or args.logs))
    report, code = asyncio.run(run_diagnosis(args))
    render_to_stdout(report, style_of(args))
    return code


def render_to_stdout(report: Mapping[str, Any], style: Style) -> None:
    """Print a report."""
    write(render(report, style))


async def run_diagnosis(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Diagnose what ``args`` say and return the report with its exit code.

    Raises GemmaSreError when there is no report at all.
    """
    watch_loop()
    request = request_of(args)
    settings = settings_of(args)
    async with open_session(settings, demo=args.demo or "", request=request) as opened:
        report, code = await collect(opened.session.diagnose(request), quiet=args.json)
        return (mark_simulated(report) if opened.simulated else report), code


async def collect(
    events: AsyncIterator[Event], *, quiet: bool = False
) -> tuple[dict[str, Any], int]:
    """Follow a turn to its end and return its report and exit code.

    Raises GemmaSreError, with the turn's own sentence, when it ended without a report.
    """
    report: Mapping[str, Any] | None = None
    failed: TurnFailed | None = None
    with Progress(quiet=quiet) as progress:
        async for event in events:
            progress.show(event)
            if isinstance(event, VerdictReached):
                report = event.report
            elif isinstance(event, TurnFailed):
                failed = event
    if report is None:
        message = failed.message if failed else "The diagnosis ended without a verdict."
        error = GemmaSreError(message)
        error.exit_code = failed.exit_code if failed else 2
        raise error
    if failed:
        return dict(report), failed.exit_code
    return dict(report), EXIT_CODES.get(str(report.get("verdict")), 3)


def style_of(args: argparse.Namespace) -> Style:
    """Return the form of output that the flags name."""
    if args.json:
        return "json"
    return "markdown" if args.markdown else "text"
