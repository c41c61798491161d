"""The command palette, from the same table as the slash commands."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.command import Command
from tui.commands import in_chat


class TableCommands(Provider):
    """Every command that the chat has."""

    async def discover(self) -> Hits:
        """Yield all of them, before anything is typed."""
        for command in in_chat():
            yield DiscoveryHit(
                _label(command), partial(self._run, command.name), help=command.summary
            )

    async def search(self, query: str) -> Hits:
        """Yield those that match what is typed."""
        matcher = self.matcher(query)
        for command in in_chat():
            score = matcher.match(f"{_label(command)} {command.summary}")
            if score > 0:
                label = matcher.highlight(_label(command))
                yield Hit(score, label, partial(self._run, command.name), help=command.summary)

    async def _run(self, name: str) -> None:
        await self.app.run_action(f"command('{name}')")


def _label(command: Command) -> str:
    return command.slash
