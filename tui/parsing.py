"""From a row of the table to an argparse parser, with errors of one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from tools.errors import UsageError
from tui.command import Command
from tui.commands import GROUPS, nearest, on_command_line

PROGRAM = "gemma-sre"


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError, and guesses what was meant."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)  # a script must not break when an option is added
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's sentence."""
        raise UsageError(f"{self.prog}: {message}.", fix=f"See `{self.prog} --help`.")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return the parsed arguments; name the nearest option to one that does not exist."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if not unknown:
            return parsed
        word = unknown[0].partition("=")[0]
        if not word.startswith("-"):
            raise UsageError(
                f"{self.prog}: {word!r} is one argument too many.",
                fix=_command_first(word) or f"See `{self.prog} --help`.",
            )
        options = [name for name in self._option_string_actions if name.startswith("--")]
        guess = nearest(word, options)
        fix = f"Did you mean {guess}?" if guess else f"See `{self.prog} --help`."
        raise UsageError(f"{self.prog}: there is no option {word}.", fix=fix)


def parser_of(command: Command) -> Parser:
    """Return the parser of one command."""
    program = PROGRAM if command.name == "chat" else f"{PROGRAM} {command.name}"
    parser = Parser(prog=program, description=f"{command.summary}.")
    if command.arguments:
        command.arguments(parser)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with every command under it, as shell completion needs it."""
    whole = Parser(prog=PROGRAM)
    whole.add_argument("--version", action="store_true")
    branches = whole.add_subparsers(parser_class=Parser)
    groups: dict[str, Any] = {}
    for command in on_command_line():
        first, *second = command.words
        if second and first not in groups:
            group = branches.add_parser(first, help=GROUPS.get(first, ""))
            groups[first] = group.add_subparsers(parser_class=Parser)
        leaf = groups[first] if second else branches
        parser = leaf.add_parser(command.words[-1], help=command.summary)
        if command.arguments:
            command.arguments(parser)
    for command in on_command_line():
        if command.name == "chat" and command.arguments:
            command.arguments(whole)
    return whole


def _command_first(word: str) -> str:
    firsts = {command.words[0] for command in on_command_line()}
    return f"Put the command first: `{PROGRAM} {word} …`." if word in firsts else ""
