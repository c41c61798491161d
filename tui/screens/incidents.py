"""The recorded incidents: a list, and the verdict of the one that is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.messages import CopyAsked
from tui.plain import glyph, one_line
from tui.widgets.verdict_card import VerdictCard

Incident = Mapping[str, Any]


class IncidentsScreen(Screen[None]):
    """A list to choose from; Enter shows an incident's newest verdict below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", id="incidents.back", tooltip="Back to the chat"),
    ]

    def __init__(self, incidents: Sequence[Incident]) -> None:
        super().__init__()
        self._incidents = list(incidents)

    def compose(self) -> ComposeResult:
        """Show the list and an empty place for the verdict."""
        count = len(self._incidents)
        head = f"Incidents ({count})   Enter shows one, Esc goes back"
        yield Static(head, markup=False, classes="screen-head")
        options = [Option(incident_line(one)) for one in self._incidents]
        yield OptionList(*options, id="incident-list", markup=False)
        yield VerticalScroll(id="incident-detail")

    def on_mount(self) -> None:
        """Start in the list."""
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    async def _chosen(self, message: OptionList.OptionSelected) -> None:
        detail = self.query_one("#incident-detail", VerticalScroll)
        await detail.remove_children()
        report = self._incidents[message.option_index].get("report")
        if isinstance(report, Mapping):
            await detail.mount(VerdictCard(report))
        else:
            await detail.mount(Static("It has no report.", markup=False))
        detail.scroll_home(animate=False)

    @on(CopyAsked)
    def _copy(self, message: CopyAsked) -> None:
        self.app.copy_to_clipboard(message.text)
        self.notify(f"{message.what} copied", timeout=2, markup=False)

    def action_leave(self) -> None:
        """Go back to the chat."""
        self.dismiss(None)


def incident_line(incident: Incident) -> str:
    """Return an incident on one line, the telling part first."""
    verdict = one_line(incident.get("verdict", ""))
    seen = one_line(incident.get("last_seen", ""))[:16].replace("T", " ")
    parts = [
        f"{glyph(verdict)} {verdict:<12}",
        seen,
        f"{one_line(incident.get('status', '')):<8}",
        one_line(incident.get("service", "") or "-", 20),
        one_line(incident.get("title", "")),
    ]
    return "  ".join(parts)
