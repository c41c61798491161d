"""The chat: transcript, prompt, status line, and the worker that runs the turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from agent.events import (
    ApprovalAsked,
    BrainChanged,
    EndpointState,
    Event,
    PhaseChanged,
    TurnFinished,
)
from tools.errors import GemmaSreError
from tui.command import Command
from tui.commands import find_slash, in_chat, nearest
from tui.crash import record
from tui.headless_progress import PHASES
from tui.history import read_turns, widgets_of
from tui.messages import CopyAsked, Decided, Submitted
from tui.plain import one_line
from tui.running import Opened
from tui.transcript import Transcript
from tui.turns import Begin, Turn, Turns
from tui.widgets.prompt import Prompt
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tui.app import ChatApp

WELCOME = "Ask a question, or type /diagnose. /help shows commands and keys."


class ChatScreen(Screen[None]):
    """Where a session is lived."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape",
            "stop_step",
            "Stop",
            id="chat.stop",
            tooltip="Stop the current step only; the session goes on",
        ),
        Binding(
            "shift+tab",
            "to_transcript",
            "Transcript",
            id="chat.transcript",
            tooltip="From the prompt to the newest card",
        ),
    ]

    def __init__(self, first: str = "") -> None:
        super().__init__()
        self._first = first  # sent as if the user had typed it
        self.turns = Turns()
        self.opened: Opened | None = None
        self._leaving = asyncio.Event()
        self._open_again = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Lay out transcript, prompt and status line."""
        yield Transcript()
        yield Prompt()
        yield StatusLine(id="status")

    @property
    def transcript(self) -> Transcript:
        """Return the transcript."""
        return self.query_one(Transcript)

    @property
    def status(self) -> StatusLine:
        """Return the status line."""
        return self.query_one(StatusLine)

    @property
    def chat_app(self) -> ChatApp:
        """Return the app, by its own type."""
        from tui.app import ChatApp

        assert isinstance(self.app, ChatApp)  # noqa: S101 - only ChatApp has this screen
        return self.app

    async def on_mount(self) -> None:
        """Paint first; what is slow to load comes behind it, in a worker."""
        self.query_one(Prompt).focus()
        await self.transcript.say(WELCOME)
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        self.run_worker(self._live(), name="session", exit_on_error=False)
        if self._first:
            self.post_message(Submitted(self._first))

    # -- what the user sends

    @on(Submitted)
    async def _submitted(self, message: Submitted) -> None:
        text = message.text
        if not text.startswith("/"):
            self.put(Turn(text, lambda session: session.ask(text)))
            return
        command, rest = find_slash(text)
        if command is None:
            word = text.split()[0]
            guess = nearest(word, [command.slash for command in in_chat()])
            hint = f"Did you mean {guess}?" if guess else "/help lists the commands."
            await self.transcript.say(f"There is no command {word}. {hint}", "error")
            return
        await self.run_command(command, rest)

    async def run_command(self, command: Command, rest: str = "") -> None:
        """Run a command of the table, from a slash, a key or the palette."""
        from importlib import import_module

        module, _, function = command.chat.partition(":")
        try:
            await getattr(import_module(module), function)(self, rest)
        except Exception as error:  # noqa: BLE001 - said in the transcript, kept in the log
            await self.report(error, command.slash)

    def put(self, turn: Turn) -> None:
        """Run a turn now, or after those that came before."""
        busy = self.turns.current is not None or self.turns.waiting > 0
        self.turns.put(turn)
        if self.opened is None:
            self._open_again.set()
        if busy:
            self._say_doing()

    def begin(self, said: str, begin: Begin) -> None:
        """Put a turn that a command made."""
        self.put(Turn(said, begin))

    # -- keys

    async def action_stop_step(self) -> None:
        """Stop the current step and say so; the session goes on."""
        if self.turns.current is None or self.opened is None:
            self.query_one(Prompt).focus()
            return
        self._doing("stopping")
        await self.opened.session.cancel()

    def action_to_transcript(self) -> None:
        """Put the focus on the newest card."""
        self.transcript.action_step(-1)

    @on(CopyAsked)
    def _copy(self, message: CopyAsked) -> None:
        self.app.copy_to_clipboard(message.text)
        self.notify(f"{message.what} copied", timeout=2, markup=False)

    @on(Decided)
    def _decided(self, message: Decided) -> None:
        self.turns.put_first(
            Turn(
                message.summary,
                lambda session: session.approve(message.approval, message.decisions),
            )
        )
        self.query_one(Prompt).focus()

    # -- the session's life

    async def leave(self) -> None:
        """End the session in the task that opened it, and wait for that, a while."""
        self._leaving.set()
        if self.opened is not None and self.turns.current is not None:
            await self.opened.session.cancel()

    async def _live(self) -> None:
        while not self._leaving.is_set():
            try:
                await self._one_life()
            except Exception as error:  # noqa: BLE001 - said in the transcript, kept in the log
                await self.report(error, "Opening the session")
                self.opened = None
                self.turns.let_go()
                self._doing("no session")
                waiting = self.turns.drop_waiting()
                if waiting:
                    await self.transcript.say("What was asked is not answered; ask again.")
                self._open_again.clear()
                await _first_of(self._open_again, self._leaving)

    async def _one_life(self) -> None:
        self._doing("loading")
        async with self.chat_app.connect() as opened:
            self.opened = opened
            self.status.place = opened.place
            self.status.simulated = opened.simulated
            if opened.resumed:
                await self._show_past(opened)
                await self._take_up(opened)
            self._say_doing()
            work = asyncio.create_task(self._work(opened))
            leaving = asyncio.create_task(self._leaving.wait())
            try:
                await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, leaving):
                    task.cancel()
                await asyncio.gather(work, leaving, return_exceptions=True)

    async def _show_past(self, opened: Opened) -> None:
        turns = await asyncio.to_thread(read_turns, opened.state, opened.session.id)
        dark = self.app.current_theme.dark
        for turn in turns:
            await self.transcript.add_all(widgets_of(turn, dark=dark))
        await self.transcript.say(f"Session {opened.session.id} goes on.")

    async def _take_up(self, opened: Opened) -> None:
        """Show what still waits for a person, or go on with what was cut off after an answer."""
        pending = await opened.session.pending_approval()
        if pending is not None:
            await self._show(pending)
        elif opened.session.was_cut_off():
            self.turns.put_first(Turn("go on", lambda session: session.resume()))

    async def _work(self, opened: Opened) -> None:
        while True:
            turn = await self.turns.next()
            await self.transcript.ask(turn.said)
            self._doing("working")
            try:
                await self.turns.run(turn, opened.session, self._show)
            except Exception as error:  # noqa: BLE001 - the turn is lost, the session is not
                await self.report(error, "This turn")
            await self.transcript.end_turn()
            self._say_doing()

    async def _show(self, event: Event) -> None:
        match event:
            case EndpointState() | BrainChanged():
                self.status.take(event)
            case PhaseChanged():
                self._doing(event.detail or PHASES.get(event.phase, event.phase))
            case TurnFinished():
                self._doing("")
            case ApprovalAsked():
                self.turns.hold()
                self._say_doing()
            case _:
                pass
        await self.transcript.show(event)

    async def report(self, error: Exception, what: str) -> None:
        """Say what went wrong; an error that is not ours is kept in the log too."""
        if isinstance(error, GemmaSreError):
            await self.transcript.say(one_line(str(error)), "error")
            return
        kept = record(error)
        place = f" Details are in {kept}." if kept else ""
        name = type(error).__name__
        await self.transcript.say(
            f"{what} stopped on an unexpected {name}; the session goes on.{place}", "error"
        )

    def _doing(self, text: str) -> None:
        waiting = f" (+{self.turns.waiting} queued)" if self.turns.waiting else ""
        self.status.doing = f"{text}{waiting}".strip()

    def _say_doing(self) -> None:
        if self.turns.held:
            self._doing("waiting for approval")
        else:
            self._doing("working" if self.turns.current else "")


async def _first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
