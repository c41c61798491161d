"""The model's thinking, folded: shown on request, never taken for an answer."""

from __future__ import annotations

from tui.plain import clean
from tui.widgets.card import Card


class Reasoning(Card):
    """A folded text that grows while the model thinks."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._words = 0
        super().__init__("▸ thinking", classes="reasoning")

    def add(self, text: str) -> None:
        """Append a piece."""
        self._parts.append(clean(text.replace("\r", "")))
        self._words += len(text.split())
        self.set_head(f"▸ thinking, about {self._words} words")
        self.refresh_body()

    def body_text(self) -> str:
        """Return the whole thinking."""
        return "".join(self._parts)
