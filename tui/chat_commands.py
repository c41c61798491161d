"""What the slash commands do: ``async (ChatScreen, str) -> None``, named by the table."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tui.help_text import chat_help
from tui.keys import key_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.events import Event
    from tui.running import Conversation
    from tui.screens.chat import ChatScreen

INCIDENTS_SHOWN = 100


async def diagnose(screen: ChatScreen, rest: str) -> None:
    """Diagnose a service; without a name, the one that the settings point at."""

    def begin(session: Conversation) -> AsyncIterator[Event]:
        # Imported once the session is open: by then it costs nothing.
        from agent.session import DiagnoseRequest

        return session.diagnose(DiagnoseRequest(service=rest.split()[0] if rest else ""))

    screen.begin(f"/diagnose {rest}".strip(), begin)


async def incidents(screen: ChatScreen, rest: str) -> None:
    """Show the recorded incidents."""
    del rest
    if screen.opened is None:
        await screen.transcript.say("Still loading; ask again in a moment.")
        return
    found = await asyncio.to_thread(_read_incidents, screen.opened.state)
    if not found:
        await screen.transcript.say("No incidents are recorded yet. /diagnose records causes.")
        return
    from tui.screens.incidents import IncidentsScreen

    screen.app.push_screen(IncidentsScreen(found))


async def help(screen: ChatScreen, rest: str) -> None:
    """Show commands and keys, from the table and the bindings."""
    del rest
    await screen.transcript.say(chat_help(key_rows()))


async def quit(screen: ChatScreen, rest: str) -> None:
    """Leave; the session is kept."""
    del rest
    await screen.app.action_quit()


def _read_incidents(state: Any) -> list[dict[str, Any]]:
    from agent.memory import Memory

    with contextlib.closing(Memory.open(state)) as memory:
        listed = memory.list_incidents(INCIDENTS_SHOWN)
        return [memory.get_incident(row["id"]) for row in listed]
