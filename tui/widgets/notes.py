"""Short things that stand in the transcript: what the user asked, and what the program says."""

from __future__ import annotations

from textual.widgets import Static

from tui.plain import clean


class Question(Static):
    """What the user asked."""

    def __init__(self, text: str) -> None:
        super().__init__(f"> {clean(text)}", markup=False, classes="question")


class Notice(Static):
    """A sentence of the program's own; ``level`` is also said by its first word."""

    WORDS = {"error": "✗ error: ", "warning": "! "}  # noqa: RUF012 - constant

    def __init__(self, text: str, level: str = "info") -> None:
        word = self.WORDS.get(level, "")
        super().__init__(f"{word}{clean(text)}", markup=False, classes=f"notice -{level}")
