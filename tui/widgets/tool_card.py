"""One tool call on one line: state, name, target, duration; opens to arguments and output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.events import ToolFinished, ToolStarted
from tui.plain import clean, glyph, one_line
from tui.widgets.card import Card


class ToolCard(Card):
    """A probe or tool, from its start to its end."""

    def __init__(self, started: ToolStarted) -> None:
        self._tool = one_line(started.name)
        self._target = one_line(started.target)
        self._arguments: Mapping[str, Any] = started.arguments
        self._finished: ToolFinished | None = None
        super().__init__(self._line(), classes="tool -running")

    @property
    def state(self) -> str:
        """Return running, ok, failed, skipped or cancelled."""
        return self._finished.state if self._finished else "running"

    def finish(self, finished: ToolFinished) -> None:
        """Take in how the call ended."""
        self._finished = finished
        self.set_class(False, "-running")
        self.set_class(True, f"-{finished.state}")
        self.set_head(self._line())
        self.refresh_body()

    def stop(self) -> None:
        """Say that the turn ended before this call did."""
        if self._finished is None:
            self.finish(ToolFinished(call="", name=self._tool, state="cancelled", seconds=0.0))

    def body_text(self) -> str:
        """Return arguments, summary and the whole output."""
        lines: list[str] = []
        if self._arguments:
            lines += ["arguments", clean(json.dumps(dict(self._arguments), indent=2, default=str))]
        done = self._finished
        if done and done.evidence:
            lines += ["evidence " + ", ".join(one_line(part) for part in done.evidence)]
        if done and done.summary:
            lines += ["summary", clean(done.summary)]
        if done and done.content and done.content != done.summary:
            lines += ["output", clean(done.content)]
        return "\n".join(lines) or "nothing more"

    def _line(self) -> str:
        state = self.state
        words = {"cancelled": "stopped"}
        parts = [f"{glyph(state)} {words.get(state, state):<7}", self._tool]
        if self._target:
            parts.append(self._target)
        if self._finished and state != "cancelled":
            parts.append(f"{self._finished.seconds:.1f} s")
        line = "  ".join(parts)
        if self._finished and self._finished.summary:
            line += f"  {one_line(self._finished.summary)}"
        return line
