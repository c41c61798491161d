"""Every key of the chat, collected from the bindings, so that help can't be out of date."""

from __future__ import annotations

from textual.binding import Binding

from tui.commands import in_chat
from tui.screens.chat import ChatScreen
from tui.screens.incidents import IncidentsScreen
from tui.transcript import Transcript
from tui.widgets.answer import FrozenAnswer
from tui.widgets.approval_card import ApprovalCard
from tui.widgets.card import Card
from tui.widgets.prompt import Prompt
from tui.widgets.verdict_card import VerdictCard

PLACES = (
    Prompt,
    ChatScreen,
    Transcript,
    Card,
    FrozenAnswer,
    VerdictCard,
    ApprovalCard,
    IncidentsScreen,
)


def bindings() -> list[Binding]:
    """Return our own bindings, those of the app first."""
    from tui.app import ChatApp

    own = (ChatApp, *PLACES)
    return [b for place in own for b in vars(place).get("BINDINGS", []) if isinstance(b, Binding)]


def command_bindings() -> list[Binding]:
    """Return one binding for each command of the table that has a key."""
    return [
        Binding(
            command.key,
            f"command('{command.name}')",
            command.slash,
            id=f"command.{command.name.replace(' ', '-')}",
            tooltip=command.summary,
        )
        for command in in_chat()
        if command.key
    ]


def key_rows() -> list[tuple[str, str]]:
    """Return (keys, what they do) for the help, each sentence once."""
    rows: dict[str, str] = {}
    for binding in [*command_bindings(), *bindings()]:
        rows.setdefault(binding.tooltip, binding.key.replace(",", ", "))
    return [(keys, tooltip) for tooltip, keys in rows.items()]
