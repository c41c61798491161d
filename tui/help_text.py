"""Help made from the table: the overview, a group, the keys, and ``docs/commands.md``."""

from __future__ import annotations

from tui.command import Command
from tui.commands import COMMANDS, GROUPS, in_chat, on_command_line

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

HEAD = """\
usage: gemma-sre [OPTIONS]            open the chat
       gemma-sre COMMAND [OPTIONS]    run one command without a screen

On-call assistant for self-hosted Gemma 4 on Google Cloud.
It diagnoses whether the model is up or down.

"""
TAIL = """
Environment: GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION, GOOGLE_CLOUD_ZONE,
VLLM_BASE_URL, MODEL_NAME, GEMMA_SRE_STATE (path of state.db), NO_COLOR.

`gemma-sre COMMAND --help` says more. Try it without a cloud: `gemma-sre demo`.
"""


def overview() -> str:
    """Return the text of ``gemma-sre --help``."""
    return HEAD + "commands:\n" + _rows(on_command_line()) + TAIL


def group_help(group: str) -> str:
    """Return the help of a group, such as ``incident``."""
    rows = [command for command in on_command_line() if command.words[0] == group]
    head = f"usage: gemma-sre {group} COMMAND [OPTIONS]\n\n"
    return head + GROUPS.get(group, "") + ".\n\ncommands:\n" + _rows(rows)


def chat_help(keys: list[tuple[str, str]]) -> str:
    """Return what ``/help`` shows: slash commands, then ``keys`` as (key, what it does)."""
    rows = [(f"{command.slash} {command.usage}".strip(), command.summary) for command in in_chat()]
    width = max(len(name) for name, _ in [*rows, *keys]) + 2
    lines = ["Commands", *(f"  {name:<{width}}{text}" for name, text in rows)]
    lines += ["", "Keys", *(f"  {key:<{width}}{text}" for key, text in keys)]
    return "\n".join(lines)


def commands_page() -> str:
    """Return ``docs/commands.md``."""
    from tui.parsing import parser_of

    lines = [
        "# Commands",
        "",
        "Made from the table in `tui/commands.py` by `python -m tui.help_text`; "
        "a test keeps it current.",
        "",
        "| command | in the chat | key | what it does |",
        "|---|---|---|---|",
    ]
    for command in COMMANDS:
        shell = f"`gemma-sre {command.name}`" if command.handler else ""
        slash = f"`{command.slash} {command.usage}`".replace(" `", "`") if command.slash else ""
        lines.append(f"| {shell} | {slash} | {command.key.upper()} | {command.summary} |")
    for command in on_command_line():
        lines += ["", f"## gemma-sre {command.name}", "", f"{command.summary}."]
        parser = parser_of(command)
        rows = [_option(action) for action in parser._actions if "-h" not in action.option_strings]
        if rows:
            lines += ["", "| argument | what it is |", "|---|---|", *rows]
        if parser.epilog:
            lines += ["", parser.epilog]
    return "\n".join(lines) + "\n"


def _option(action: argparse.Action) -> str:
    # Not format_help(): its layout differs between the versions of Python.
    metavar = str(action.metavar or "").replace("|", "\\|")
    value = "\\|".join(action.choices) if action.choices else metavar
    names = ", ".join(action.option_strings)
    shown = f"{names} {value}".strip() if action.nargs != 0 else names
    if action.nargs in {"+", "*"}:
        shown += " …"
    return f"| `{shown}` | {action.help} |"


def _rows(commands: tuple[Command, ...] | list[Command]) -> str:
    width = max(len(command.name) for command in commands) + 2
    return "".join(f"  {command.name:<{width}}{command.summary}\n" for command in commands)


if __name__ == "__main__":
    import pathlib

    page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "commands.md"
    page.write_text(commands_page(), encoding="utf-8")
