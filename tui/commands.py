"""The one table of commands: it feeds the command line, slash commands, palette, keys and help.

A row names its handlers as ``module:function`` and they are imported only when they run, so
this module, like all that ``--help`` needs, imports the standard library and little of that.

``handler`` runs on the command line: ``(argparse.Namespace) -> int``, the exit code.
``chat`` runs in the chat: ``async (ChatScreen, str) -> None``, with the text behind the name.
"""

from __future__ import annotations

from tui import arguments, sizing_commands

TYPE_CHECKING = False  # typing itself would be a third of the start of --help
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

GROUPS = {
    "demo": "Try everything on a simulated cloud",
    "incident": "Look at recorded incidents",
}


class Command:
    """One command: what it is called in each place, what it says, and what runs."""

    __slots__ = ("arguments", "chat", "handler", "key", "name", "slash", "summary", "usage")

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        handler: str = "",
        arguments: Callable[[argparse.ArgumentParser], None] | None = None,
        slash: str = "",
        usage: str = "",
        chat: str = "",
        key: str = "",
    ) -> None:
        self.name = name  # words separated by a space: "incident list"
        self.summary = summary
        self.handler = handler  # "" : not on the command line
        self.arguments = arguments
        self.slash = slash  # "/diagnose"; "" : not in the chat
        self.usage = usage  # what follows the slash command: "[service]"
        self.chat = chat
        self.key = key  # a key in the chat, as Textual spells it

    @property
    def words(self) -> tuple[str, ...]:
        """Return the name as the words of a command line."""
        return tuple(self.name.split())


COMMANDS: tuple[Command, ...] = (
    Command(
        "chat",
        "Open the chat (what plain `gemma-sre` does)",
        handler="tui.chat:run",
        arguments=arguments.chat,
    ),
    Command(
        "diagnose",
        "Find out what is wrong with an endpoint, with evidence",
        handler="tui.headless:diagnose",
        arguments=arguments.diagnose,
        slash="/diagnose",
        usage="[service]",
        chat="tui.chat_commands:diagnose",
        key="f5",
    ),
    Command(
        "incident list",
        "List recorded incidents, newest first",
        handler="tui.headless_incidents:list_incidents",
        arguments=arguments.incident_list,
        slash="/incidents",
        chat="tui.chat_commands:incidents",
        key="f3",
    ),
    Command(
        "incident show",
        "Show one incident with its evidence",
        handler="tui.headless_incidents:show_incident",
        arguments=arguments.incident_show,
    ),
    Command(
        "demo run",
        "Diagnose a simulated failure; in a terminal, in the chat",
        handler="tui.headless_demo:run",
        arguments=arguments.demo_run,
    ),
    Command(
        "demo list",
        "List the scenarios that ship",
        handler="tui.headless_demo:list_scenarios",
        arguments=arguments.as_json,
    ),
    Command(
        "demo validate",
        "Check a scenario file against its schema",
        handler="tui.headless_demo:validate",
        arguments=arguments.demo_validate,
    ),
    Command(
        "fit",
        "Compute whether a model fits an accelerator, and what helps",
        handler="tui.sizing_commands:run_fit",
        arguments=sizing_commands.add_fit_arguments,
    ),
    Command(
        "cost",
        "Compute what serving costs: an hour, a month, a million tokens",
        handler="tui.sizing_commands:run_cost",
        arguments=sizing_commands.add_cost_arguments,
    ),
    Command(
        "recommend",
        "Rank models, accelerators and flags for a workload",
        handler="tui.sizing_commands:run_recommend",
        arguments=sizing_commands.add_recommend_arguments,
    ),
    Command(
        "lint",
        "Check a `vllm serve` command before it is deployed",
        handler="tui.sizing_commands:run_lint",
        arguments=sizing_commands.add_lint_arguments,
    ),
    Command(
        "memory",
        "Show where a running service's memory went, from its log",
        handler="tui.sizing_commands:run_memory",
        arguments=sizing_commands.add_memory_arguments,
    ),
    Command(
        "check",
        "Check the set-up: credentials, permissions, endpoint, model",
        handler="tui.headless_check:check",
        arguments=arguments.check,
    ),
    Command(
        "completion",
        "Print the shell's completion script",
        handler="tui.completion:print_script",
        arguments=arguments.completion,
    ),
    Command(
        "version",
        "Print the version",
        handler="tui.cli:print_version",
        arguments=arguments.as_json,
    ),
    Command(
        "help", "Show commands and keys", slash="/help", chat="tui.chat_commands:help", key="f1"
    ),
    Command(
        "quit", "Leave the chat; the session is kept", slash="/quit", chat="tui.chat_commands:quit"
    ),
)

# A command of one word that is a group, called without its second word.
GROUP_DEFAULTS = {"demo": "demo run", "incident": "incident list"}


def on_command_line() -> tuple[Command, ...]:
    """Return the commands that a shell can call."""
    return tuple(command for command in COMMANDS if command.handler)


def in_chat() -> tuple[Command, ...]:
    """Return the commands that have a slash name."""
    return tuple(command for command in COMMANDS if command.slash)


def find_slash(text: str) -> tuple[Command | None, str]:
    """Return the command that ``text`` calls, and what follows its name."""
    name, _, rest = text.strip().partition(" ")
    for command in in_chat():
        if command.slash == name.lower():
            return command, rest.strip()
    return None, rest.strip()


def nearest(word: str, names: Sequence[str]) -> str:
    """Return the name that ``word`` was probably meant to be, or an empty text."""
    import difflib

    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return found[0]
    starts = [name for name in names if word and name.startswith(word)]
    return starts[0] if len(starts) == 1 else ""
