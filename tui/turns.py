"""One turn after another: what is asked while one runs waits its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from agent.events import Event
from tui.running import Conversation

# Given an open session, begin the turn.
Begin = Callable[[Conversation], AsyncIterator[Event]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done, and the words that asked for it."""

    said: str
    begin: Begin


class Turns:
    """A queue of turns, worked off one at a time."""

    def __init__(self) -> None:
        self._waiting: deque[Turn] = deque()
        self._arrived = asyncio.Event()
        self.current: Turn | None = None
        self.held = False  # a person must decide first: nothing else begins

    @property
    def waiting(self) -> int:
        """Return how many turns wait behind the current one."""
        return len(self._waiting)

    def put(self, turn: Turn) -> None:
        """Add a turn at the end."""
        self._waiting.append(turn)
        self._arrived.set()

    def hold(self) -> None:
        """Begin no turn until one is put first, or all is let go."""
        self.held = True

    def put_first(self, turn: Turn) -> None:
        """Add a turn before all others, and go on."""
        self._waiting.appendleft(turn)
        self.let_go()

    def let_go(self) -> None:
        """Go on with the turns that wait."""
        self.held = False
        self._arrived.set()

    def drop_waiting(self) -> int:
        """Forget the turns that have not begun, and return how many they were."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    async def next(self) -> Turn:
        """Wait for the next turn; it is then the current one."""
        while self.held or not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        self.current = self._waiting.popleft()
        return self.current

    async def run(
        self, turn: Turn, session: Conversation, show: Callable[[Event], Awaitable[None]]
    ) -> None:
        """Run a turn to its end, showing each event."""
        try:
            async for event in turn.begin(session):
                await show(event)
        finally:
            self.current = None
