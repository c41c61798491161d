"""/fit and /cost in the chat: the same text as on the command line, with the memory bar."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tui.commands import COMMANDS
from tui.parsing import parser_of

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


async def fit(screen: ChatScreen, rest: str) -> None:
    """Show whether a model fits, with the memory bar."""
    await _show(screen, "fit", rest)


async def cost(screen: ChatScreen, rest: str) -> None:
    """Show what a deployment costs."""
    await _show(screen, "cost", rest)


async def _show(screen: ChatScreen, name: str, rest: str) -> None:
    args = parsed(name, rest)
    from tui import sizing_commands

    run: Callable[[argparse.Namespace], list[str]] = getattr(sizing_commands, f"{name}_lines")
    # Computing is milliseconds, but a service's logs may be read for it.
    lines = await asyncio.to_thread(run, args)
    await screen.transcript.say("\n".join(lines))


def parsed(name: str, rest: str) -> argparse.Namespace:
    """Return the arguments of a command as typed behind its slash.

    Raises UsageError, also where the command line would print its help and leave.
    """
    (command,) = (one for one in COMMANDS if one.name == name)
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"/{name} can't be read: {error}.", fix="Close its quotes.") from None
    parser = parser_of(command)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            args = parser.parse_args(words)
    except SystemExit:
        raise UsageError(" ".join(parser.format_usage().split())) from None
    return args
