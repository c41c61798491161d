"""Every message that one widget sends to another."""

from __future__ import annotations

from collections.abc import Mapping

from textual.message import Message

from agent.events import Decision


class Submitted(Message):
    """The user sent a text from the prompt."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Decided(Message):
    """The user has decided on every call of an approval; ``summary`` says it in a few words."""

    def __init__(self, approval: str, decisions: Mapping[str, Decision], summary: str) -> None:
        super().__init__()
        self.approval = approval
        self.decisions = decisions
        self.summary = summary


class CopyAsked(Message):
    """The user wants a card's text in the clipboard."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what
