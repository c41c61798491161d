"""One row of the table of commands."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would be a third of the start of --help
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


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
