"""The console script. It imports the standard library at start, and little of that.

The command is found in the table first; only then is an argparse parser built, for that command
alone. Shell completion, which needs the whole tree, builds it on its own.
"""

from __future__ import annotations

import os
import sys

from tui.command import Command
from tui.commands import COMMANDS, GROUP_DEFAULTS, nearest, on_command_line
from tui.version import VERSION

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

PROGRAM = "gemma-sre"

EXIT_USAGE = 2
EXIT_SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
EXIT_IO = 74  # EX_IOERR of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; never show a traceback unasked."""
    if argv is None:
        hush()
    words = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        from tui.completion import complete

        complete()
    try:
        code = run(words)
        sys.stdout.flush()
        return code
    except SystemExit as error:  # argparse after --help
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        say("stopped; nothing lost")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader left (`| head`). Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except Exception as error:  # noqa: BLE001 - the last resort reports, and keeps, what happened
        return explain(error)


def run(words: list[str]) -> int:
    """Find the command that ``words`` name and run it."""
    if words and words[0] in {"--version", "-V"}:
        sys.stdout.write(f"{PROGRAM} {VERSION}\n")
        return 0
    if words and words[0] in {"--help", "-h", "help"} and len(words) == 1:
        from tui.help_text import overview

        sys.stdout.write(overview())
        return 0
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    found = find(words)
    if isinstance(found, str):
        say(found)
        return EXIT_USAGE
    command, rest = found
    if command is None:
        from tui.help_text import group_help

        sys.stdout.write(group_help(words[0]))
        return 0
    from tui.parsing import parser_of

    args = parser_of(command).parse_args(rest)
    return call(command.handler, args)


def find(words: Sequence[str]) -> tuple[Command | None, list[str]] | str:
    """Return the command and its arguments, or the sentence that says what is wrong.

    A group with ``--help`` has no command: its own help is meant.
    """
    table = {command.name: command for command in on_command_line()}
    if not words or words[0].startswith("-"):
        return table["chat"], list(words)
    first = words[0]
    groups = {name.split()[0] for name in table if " " in name}
    if first in table:
        return table[first], list(words[1:])
    if first not in groups:
        names = sorted({name.split()[0] for name in table})
        guess = nearest(first, names)
        hint = f"Did you mean {guess!r}?" if guess else f"Commands: {', '.join(names)}."
        return f"error: there is no command {first!r}. {hint}"
    if len(words) > 1 and words[1] in {"--help", "-h"}:
        return None, []
    if len(words) > 1 and f"{first} {words[1]}" in table:
        return table[f"{first} {words[1]}"], list(words[2:])
    default = GROUP_DEFAULTS.get(first, "")
    seconds = sorted(name.split()[1] for name in table if name.startswith(f"{first} "))
    if len(words) == 1 or words[1].startswith("-"):
        if default:
            return table[default], list(words[1:])
        return f"error: {first} needs one of: {', '.join(seconds)}."
    guess = nearest(words[1], seconds)
    if first == "demo" and not guess:  # `demo NAME` is `demo run NAME`
        return table[default], list(words[1:])
    hint = f"Did you mean '{first} {guess}'?" if guess else f"It has: {', '.join(seconds)}."
    return f"error: {first} has no command {words[1]!r}. {hint}"


def hush() -> None:
    """Keep what Python would print on its own, in this process, out of the user's terminal."""
    if os.environ.get("GEMMA_SRE_DEBUG") == "1" or sys.warnoptions:
        return
    import warnings

    warnings.simplefilter("ignore")
    sys.unraisablehook = keep_unraisable


def keep_unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Keep in the log what a destructor failed with, such as one that Ctrl-C surprised."""
    from tui.crash import record

    if isinstance(problem.exc_value, Exception):
        record(problem.exc_value)


def call(path: str, args: argparse.Namespace) -> int:
    """Import ``module:function`` and return what it returns for ``args``."""
    from importlib import import_module

    module, _, function = path.partition(":")
    return int(getattr(import_module(module), function)(args))


def explain(error: Exception) -> int:
    """Say in one line what went wrong and what to do, and return the exit code."""
    import errno

    from tools.errors import GemmaSreError

    if os.environ.get("GEMMA_SRE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
        return error.exit_code if isinstance(error, GemmaSreError) else EXIT_SOFTWARE
    from tui.plain import one_line

    if isinstance(error, GemmaSreError):
        say(f"error: {one_line(str(error))}")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        say("error: the disk is full, so nothing more could be written. Free some space and retry.")
        return EXIT_IO
    from tui.crash import record

    kept = record(error)
    place = f"Details are in {kept}." if kept else "GEMMA_SRE_DEBUG=1 shows the details."
    say(f"error: an unexpected {type(error).__name__} stopped this. {place}")
    return EXIT_SOFTWARE


def say(sentence: str) -> None:
    """Write one line to stderr, whatever became of stderr."""
    try:
        sys.stderr.write(sentence + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def print_version(args: argparse.Namespace) -> int:
    """Print the version as text or JSON."""
    if args.json:
        import json

        sys.stdout.write(json.dumps({"name": PROGRAM, "version": VERSION}) + "\n")
    else:
        sys.stdout.write(f"{PROGRAM} {VERSION}\n")
    return 0


__all__ = ["COMMANDS", "main", "print_version", "run"]
