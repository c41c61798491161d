"""Where the user types: several lines, a history, and completion of slash commands."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widgets import TextArea

from tui.commands import in_chat
from tui.messages import Submitted

HISTORY_LIMIT = 500


class Prompt(TextArea):
    """A text area in which Enter sends, Ctrl+J breaks the line, and up and down recall."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send", tooltip="Send"),
        Binding(
            "ctrl+j",
            "newline",
            "New line",
            id="prompt.newline",
            tooltip="Break the line",
        ),
        Binding("up", "earlier", "Earlier", id="prompt.earlier", tooltip="The question before"),
        Binding("down", "later", "Later", id="prompt.later", tooltip="The question after"),
        Binding(
            "tab", "complete", "Complete", id="prompt.complete", tooltip="Complete a slash command"
        ),
    ]

    def __init__(self) -> None:
        super().__init__(
            "",
            soft_wrap=True,
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask, or /diagnose, /help",
            id="prompt",
        )
        self._history: list[str] = []
        self._at = 0
        self._draft = ""

    async def _on_key(self, event: Key) -> None:
        # Not priority bindings: those run before the letters typed just ahead of them, which
        # wait in this widget's queue, so that Enter would send half a sentence.
        if event.key in {"enter", "ctrl+j"}:
            event.stop()
            event.prevent_default()
            await self.run_action("send" if event.key == "enter" else "newline")
            return
        await super()._on_key(event)

    def action_send(self) -> None:
        """Send what is written, if it is anything."""
        text = self.text.strip()
        if not text:
            return
        if not self._history or self._history[-1] != text:
            self._history.append(text)
            del self._history[:-HISTORY_LIMIT]
        self._at = len(self._history)
        self._draft = ""
        self.clear()
        self.post_message(Submitted(text))

    def action_newline(self) -> None:
        """Break the line at the cursor."""
        self.insert("\n")

    def action_earlier(self) -> None:
        """Go up a line; from the first one, to the question before."""
        if self.cursor_location[0] > 0 or not self._history:
            self.action_cursor_up()
        elif self._at > 0:
            if self._at == len(self._history):
                self._draft = self.text
            self._recall(self._at - 1)

    def action_later(self) -> None:
        """Go down a line; from the last one, to the question after."""
        if self.cursor_location[0] < self.document.line_count - 1:
            self.action_cursor_down()
        elif self._at < len(self._history):
            self._recall(self._at + 1)

    def action_complete(self) -> None:
        """Complete a slash command; elsewhere, go to the next part of the screen."""
        text = self.text
        if not text.startswith("/") or " " in text or "\n" in text:
            self.screen.focus_next()
            return
        names = [command.slash for command in in_chat() if command.slash.startswith(text)]
        if len(names) == 1:
            self._set(f"{names[0]} ")
        elif names:
            self._set(_common_start(names))
            self.notify("  ".join(names), timeout=3, markup=False)

    def _recall(self, at: int) -> None:
        self._at = at
        self._set(self._draft if at == len(self._history) else self._history[at])

    def _set(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    end = 0
    while end < len(first) and first[end] == last[end]:
        end += 1
    return first[:end]
