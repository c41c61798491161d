"""Where a document goes without a screen, and the question before something is forgotten."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.errors import UsageError
from tui.plain import one_line, write


def deliver(text: str, output: str) -> None:
    """Write a document to stdout, or to a file that is not there yet, for its owner alone.

    Raises UsageError when the file can't be made; nothing is ever overwritten.
    """
    if not output:
        write(text)
        return
    path = Path(output)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(f"{output} is there already.", fix="Name a new file.") from error
    except OSError as error:
        raise UsageError(f"{output} can't be written: {error.strerror}.") from error
    sys.stderr.write(f"written to {one_line(output)}\n")


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 turn`` or ``2 turns``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def confirm(args: argparse.Namespace, question: str) -> bool:
    """Ask before something is forgotten, on stderr; ``--yes`` answers.

    Raises UsageError when there is nobody to ask.
    """
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("This forgets what is recorded.", fix="Give --yes to do it.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
