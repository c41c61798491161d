"""Every message that one widget sends to another."""

from __future__ import annotations

from textual.message import Message


class Submitted(Message):
    """The user sent a text from the prompt."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class CopyAsked(Message):
    """The user wants a card's text in the clipboard."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what
