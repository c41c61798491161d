"""The last line: what the endpoint does, who answers, how full the window is, and where."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from agent.events import BrainChanged, EndpointState
from tui.plain import one_line

GLYPHS = {
    "ready": "●",
    "starting": "◐",
    "cold_starting": "◐",
    "scaled_to_zero": "○",
    "no_instance": "○",
    "not_probed": "·",
    "unknown": "·",
}


class StatusLine(Widget):
    """One line that drops what matters least when it is too narrow."""

    endpoint: reactive[EndpointState | None] = reactive(None)
    brain: reactive[str] = reactive("")
    doing: reactive[str] = reactive("starting")
    place: reactive[str] = reactive("")
    simulated: reactive[bool] = reactive(False)

    def take(self, event: EndpointState | BrainChanged) -> None:
        """Show what an event says."""
        if isinstance(event, EndpointState):
            self.endpoint = event
        else:
            self.brain = event.mode

    def render(self) -> Content:
        """Return the line."""
        return Content(self.line(self.size.width or 80))

    def line(self, width: int) -> str:
        """Return the parts that fit into ``width``, in their order on the line."""
        state = self.endpoint
        # (importance, text): the least important goes first when room is short.
        shown: list[tuple[int, str]] = []
        if self.simulated:
            shown.append((9, "SIMULATED"))
        if state is not None:
            name = one_line(state.state)
            shown.append((8, f"{GLYPHS.get(name, '✗')} {name.replace('_', ' ')}"))
        if self.doing:
            shown.append((7, one_line(self.doing, 40)))
        if self.brain:
            shown.append((6, "rules only" if self.brain == "rules" else "model"))
        if state is not None and state.window:
            shown.append((5, f"window {_short(state.used)}/{_short(state.window)}"))
        if state is not None and state.model:
            shown.append((4, one_line(state.model, 28)))
        if self.place:
            shown.append((3, one_line(self.place, 36)))
        while len(shown) > 1 and len(_join(shown)) > width:
            shown.remove(min(shown))
        return one_line(_join(shown), width)


def _join(shown: list[tuple[int, str]]) -> str:
    return " │ ".join(text for _, text in shown)


def _short(tokens: int) -> str:
    return f"{tokens / 1000:.1f}k" if tokens >= 1000 else str(tokens)
