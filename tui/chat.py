"""``gemma-sre`` without a command: check the terminal, then open the chat."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

from tools.errors import UsageError
from tui.cli import EXIT_SOFTWARE, say
from tui.running import Opened, open_session, preload, settings_of


def run(args: argparse.Namespace) -> int:
    """Open the chat.

    Raises UsageError where no screen can be shown.
    """
    problem = why_no_screen()
    if problem:
        raise UsageError(problem, fix="`gemma-sre diagnose` works without a screen.")
    from tui.app import ChatApp

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Opened]:
        # Importing the graph takes about two seconds of CPU; keys are read meanwhile.
        await asyncio.to_thread(preload, bool(args.demo))
        settings = settings_of(args)
        demo, session = args.demo or "", args.session or ""
        async with open_session(settings, demo=demo, session=session, interactive=True) as opened:
            yield opened

    app = ChatApp(connect, first=getattr(args, "first", ""))
    code = app.run()
    if app.crash:
        say(app.crash)
        return EXIT_SOFTWARE
    opened = app.chat.opened
    if opened is not None and not opened.simulated:
        say(f"Session kept. Go on with it: gemma-sre --session {opened.session.id}")
    return code or 0


def why_no_screen() -> str:
    """Return why the chat can't be shown here, or an empty text."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "The chat needs a terminal for its input and output."
    if os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return "The chat needs a terminal that can move its cursor; TERM says this one can't."
    return ""
