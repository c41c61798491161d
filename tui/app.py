"""The app: themes, bindings, and nothing that knows what a diagnosis is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from tui.commands import COMMANDS
from tui.crash import record, watch_loop
from tui.keys import command_bindings
from tui.palette import TableCommands
from tui.running import Opened
from tui.screens.chat import ChatScreen
from tui.themes import THEMES

Connect = Callable[[], AbstractAsyncContextManager[Opened]]

LEAVING_S = 3.0  # how long a session may take to close before the screen goes anyway


class ChatApp(App[int]):
    """The chat on a session that ``connect`` opens behind the first paint."""

    TITLE = "gemma-sre"
    CSS_PATH = "app.tcss"
    COMMANDS = App.COMMANDS | {TableCommands}
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+q",
            "quit",
            "Quit",
            id="app.quit",
            tooltip="Leave; the session is kept",
            priority=True,
        ),
    ]

    def __init__(self, connect: Connect, *, first: str = "") -> None:
        super().__init__()
        self.connect = connect
        self.chat = ChatScreen(first)
        self.crash = ""
        for theme in THEMES:
            self.register_theme(theme)

    def on_mount(self) -> None:
        """Show the chat."""
        watch_loop()
        for binding in command_bindings():
            self._bindings.key_to_bindings.setdefault(binding.key, []).append(binding)
        wanted = os.environ.get("GEMMA_SRE_THEME", "")
        self.theme = wanted if wanted in self.available_themes else "gemma-dark"
        self.push_screen(self.chat)

    async def action_command(self, name: str) -> None:
        """Run a command of the table by its name."""
        for command in COMMANDS:
            if command.name == name and command.chat:
                await self.chat.run_command(command)

    async def action_quit(self) -> None:
        """Close the session, then the screen."""
        await self.chat.leave()
        for worker in list(self.workers):
            if worker.name == "session" and worker.is_running:
                loaded = self.chat.opened is not None
                self.set_timer(LEAVING_S if loaded else 0.01, worker.cancel)
                break
        self.run_worker(self._exit_when_left(), exit_on_error=False)

    async def _exit_when_left(self) -> None:
        for worker in list(self.workers):
            if worker.name == "session" and not worker.is_finished:
                try:
                    await worker.wait()
                except Exception as error:  # noqa: BLE001 - leaving anyway; kept in the log
                    record(error)
        self.exit(0)

    def _fatal_error(self) -> None:
        # Textual would print a traceback with the values of all variables, secrets among them.
        if os.environ.get("GEMMA_SRE_DEBUG") == "1" or self._exception is None:
            super()._fatal_error()
            return
        kept = record(self._exception)
        name = type(self._exception).__name__
        self.crash = f"error: the screen stopped on an unexpected {name}; the session is kept."
        if kept:
            self.crash += f" Details are in {kept}."
        self._close_messages_no_wait()
