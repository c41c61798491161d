"""A card of the transcript: one line that opens to more, reached and opened by key or mouse."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.reactive import var
from textual.widgets import Static

from tui.messages import CopyAsked

# A terminal can't be read past this, and laying it out would block the keys.
SHOWN_CHARACTERS = 20_000


class Card(Vertical, can_focus=True):
    """A head line and, once opened, a body. Both are shown as plain text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "space,enter", "unfold", "Open", id="card.toggle", tooltip="Open or close this card"
        ),
        Binding("c", "copy", "Copy", id="card.copy", tooltip="Copy this card's text"),
    ]

    expanded: var[bool] = var(False, toggle_class="-expanded")

    def __init__(self, head: str, *, classes: str = "") -> None:
        super().__init__(classes=f"card {classes}".strip())
        self._head = Static(head, markup=False, classes="card-head")
        self._body: Static | None = None

    def compose(self) -> ComposeResult:
        """Show the head; the body is made when it is first opened."""
        yield self._head

    def set_head(self, text: str) -> None:
        """Replace the head line."""
        self._head.update(text)

    def body_text(self) -> str:
        """Return the text that opening shows; a subclass says which."""
        return ""

    def copy_text(self) -> str:
        """Return the text that copying copies."""
        return self.body_text()

    def refresh_body(self) -> None:
        """Show the body's newest text, if it is open."""
        if self._body is not None and self.expanded:
            self._body.update(shorten(self.body_text()))

    def watch_expanded(self, expanded: bool) -> None:
        """Make the body on first use, and show or hide it."""
        if expanded and self._body is None:
            self._body = Static("", markup=False, classes="card-body")
            self.mount(self._body)
        if self._body is not None:
            self._body.display = expanded
        self.refresh_body()

    def action_unfold(self) -> None:
        """Open or close."""
        self.expanded = not self.expanded

    def action_copy(self) -> None:
        """Ask for the text to be copied."""
        self.post_message(CopyAsked(self.copy_text(), "card"))

    def on_click(self) -> None:
        """Open or close by mouse."""
        self.action_unfold()


def shorten(text: str) -> str:
    """Return the text, cut to what a terminal can show, and say what was left out."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    left = len(text) - SHOWN_CHARACTERS
    return f"{text[:SHOWN_CHARACTERS]}\n… {left:,} more characters (c copies the whole)"
