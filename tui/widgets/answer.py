"""Answers: one live Markdown while it streams, one Static once it is whole.

200 finished answers as Markdown widgets are about 4,000 DOM nodes and make streaming several
times slower than 200 Statics; so only the one that grows is a Markdown.
"""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.markdown import Markdown as RichMarkdown
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Markdown, Static
from textual.widgets.markdown import MarkdownStream

from tui.messages import CopyAsked
from tui.plain import clean


class LiveAnswer(Markdown):
    """The answer that is being written; its links are shown and never opened."""

    def __init__(self) -> None:
        super().__init__("", classes="answer live", open_links=False)
        self._stream: MarkdownStream | None = None

    async def add(self, text: str) -> None:
        """Append a piece; pieces that come faster than the screen paints are joined."""
        if self._stream is None:
            self._stream = Markdown.get_stream(self)
        # A piece may end between \r and \n, so \r goes rather than being shown.
        await self._stream.write(clean(text.replace("\r", "")))

    async def finish(self) -> None:
        """Write what is pending and stop."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None


class FrozenAnswer(Static, can_focus=True):
    """An answer that is whole; selecting is the terminal's, copying is a key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", id="answer.copy", tooltip="Copy this answer"),
    ]

    def __init__(self, text: str, author: str = "model", *, dark: bool = True) -> None:
        self._text = text
        theme = "monokai" if dark else "default"
        rendered: RenderableType = RichMarkdown(clean(text), code_theme=theme, hyperlinks=False)
        if author == "rules":
            rendered = Group(Text("From the rules, without the model:"), rendered)
        super().__init__(rendered, markup=False, classes=f"card answer -{author}")

    def action_copy(self) -> None:
        """Ask for the answer's Markdown to be copied."""
        self.post_message(CopyAsked(self._text, "answer"))
