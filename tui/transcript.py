"""Events → widgets: the one place that knows what each event looks like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import TextArea

from agent.events import (
    AnswerDelta,
    AnswerFinished,
    ApprovalAsked,
    BrainChanged,
    Event,
    ReasoningDelta,
    Stalled,
    ToolFinished,
    ToolStarted,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictReached,
)
from tui.widgets.answer import FrozenAnswer, LiveAnswer
from tui.widgets.approval_card import ApprovalCard
from tui.widgets.notes import Notice, Question
from tui.widgets.reasoning import Reasoning
from tui.widgets.tool_card import ToolCard
from tui.widgets.verdict_card import VerdictCard

# Layout time grows with what is mounted; what is older stays in state.db.
MOUNTED_LIMIT = 400


class Transcript(VerticalScroll, can_focus=False):
    """What was said and done, oldest first; it stays at its end unless scrolled away."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "up,k", "step(-1)", "Previous", id="transcript.previous", tooltip="The card before"
        ),
        Binding("down,j", "step(1)", "Next", id="transcript.next", tooltip="The card after"),
    ]

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self._tools: dict[str, ToolCard] = {}
        self._reasoning: Reasoning | None = None
        self._live: LiveAnswer | None = None
        self._verdict: VerdictCard | None = None
        self._brain = ""
        self._dropped = 0

    def on_mount(self) -> None:
        """Stay at the end while there is something new."""
        self.anchor()

    async def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case TurnStarted(resumed=True):
                await self.add(Notice("This turn was cut off; it goes on from where it was."))
            case ToolStarted():
                await self._end_streams()
                self._tools[event.call] = ToolCard(event)
                await self.add(self._tools[event.call])
            case ToolFinished():
                await self._finish_tool(event)
            case ReasoningDelta():
                if self._reasoning is None:
                    self._reasoning = Reasoning()
                    await self.add(self._reasoning)
                self._reasoning.add(event.text)
            case AnswerDelta():
                self._reasoning = None
                if self._live is None:
                    self._live = LiveAnswer()
                    await self.add(self._live)
                await self._live.add(event.text)
            case AnswerFinished():
                await self._freeze(event.text, event.author)
            case BrainChanged() if event.mode != self._brain:
                self._brain = event.mode
                if event.mode == "rules":
                    await self.add(Notice(f"Rules answer, not the model: {event.why}", "warning"))
            case Stalled():
                await self.add(
                    Notice(
                        f"{event.what} has said nothing for {event.seconds:.0f} s; Esc stops it."
                    )
                )
            case ApprovalAsked():
                await self._end_streams()
                await self._ask_approval(ApprovalCard(event))
            case VerdictReached():
                await self._end_streams()
                await self._show_verdict(VerdictCard(event.report))
            case TurnFailed():
                await self._end_streams()
                await self.add(Notice(event.message, "error"))
            case TurnFinished():
                await self._finish_turn(event)
                if self._verdict is not None:
                    self.call_after_refresh(self._show_top, self._verdict)
            case _:
                pass

    async def add(self, widget: Widget) -> None:
        """Mount a widget at the end, and let go of the oldest past the limit."""
        await self.add_all((widget,))

    async def add_all(self, widgets: Iterable[Widget]) -> None:
        """Mount widgets at the end, at once."""
        await self.mount_all(widgets)
        surplus = len(self.children) - MOUNTED_LIMIT
        if surplus > 0:
            self._dropped += surplus
            await self.remove_children(self.children[:surplus])

    async def ask(self, text: str) -> None:
        """Show what the user asked, and follow what comes."""
        self._verdict = None
        self.anchor()
        await self.add(Question(text))

    async def say(self, text: str, level: str = "info") -> None:
        """Show a sentence of the program's own, in sight."""
        self._verdict = None
        self.anchor()
        await self.add(Notice(text, level))

    async def end_turn(self) -> None:
        """Close what an interrupted turn left open."""
        await self._end_streams()
        for card in self._tools.values():
            card.stop()
        self._tools.clear()

    def action_step(self, by: int) -> None:
        """Move the focus from card to card; past the last one, to the prompt."""
        cards = [child for child in self.children if child.focusable]
        focused = self.screen.focused
        at = cards.index(focused) if focused in cards else len(cards)
        if 0 <= at + by < len(cards):
            cards[at + by].focus()
        elif at + by >= len(cards):
            self.screen.query_one("#prompt").focus()

    async def _ask_approval(self, card: ApprovalCard) -> None:
        self._verdict = None
        self.anchor()
        await self.add(card)
        # A person who is writing keeps the prompt: their next letter must not be an answer.
        prompt = self.screen.query_one("#prompt", TextArea)
        if prompt.text.strip():
            await self.add(Notice("Shift+Tab goes to what waits for your approval.", "warning"))
        else:
            card.focus()

    async def _show_verdict(self, card: VerdictCard) -> None:
        # The cause stands at the card's top, which the end of a long card would push away.
        self._verdict = card
        await self.add(card)
        self.call_after_refresh(self._show_top, card)

    def _show_top(self, card: VerdictCard) -> None:
        # What else the turn says comes below; only a newer question moves the view on.
        if self._verdict is card and self._height_from(card) > self.size.height:
            self.anchor(False)
            self.scroll_to_widget(card, top=True, animate=False)

    def _height_from(self, card: VerdictCard) -> int:
        return self.virtual_size.height - card.virtual_region.y

    async def _finish_tool(self, event: ToolFinished) -> None:
        card = self._tools.pop(event.call, None)
        if card is None:  # its start was not told: show it whole
            card = ToolCard(ToolStarted(call=event.call, name=event.name))
            await self.add(card)
        card.finish(event)

    async def _freeze(self, text: str, author: str) -> None:
        live, self._live, self._reasoning = self._live, None, None
        if text.strip():
            frozen = FrozenAnswer(text, author, dark=self.app.current_theme.dark)
            await (self.mount(frozen, after=live) if live is not None else self.add(frozen))
        if live is not None:
            await live.finish()
            await live.remove()

    async def _end_streams(self) -> None:
        self._reasoning = None
        if self._live is not None:
            await self._live.finish()
            text = self._live.source
            await self._freeze(text, "model")

    async def _finish_turn(self, event: TurnFinished) -> None:
        await self.end_turn()
        if event.cancelled:
            await self.say("Stopped. What was found so far is kept.")
