"""Progress on stderr: one line that updates on a terminal, few plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

from agent.events import BrainChanged, Event, PhaseChanged, Stalled, ToolFinished, ToolStarted
from tui.plain import one_line

# A diagnosis that ends sooner than this needs no account of its steps.
PATIENCE_S = 1.0

PHASES = {
    "probe": "looking",
    "match": "matching runbooks",
    "reason": "asking the model",
    "gate": "waiting for approval",
    "act": "running tools",
    "verdict": "weighing the evidence",
    "record": "recording",
}


class Progress:
    """Says what a turn is doing, as far as somebody is there to read it."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self._silent = quiet and not self._live
        self._started = time.monotonic()
        self._phase = "starting"
        self._running: dict[str, str] = {}
        self._shown = ""

    def __enter__(self) -> Progress:
        """Begin; nothing is shown before the first event."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave a clean line behind."""
        if self._live and self._shown:
            self._write("\r\x1b[K")

    def show(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case PhaseChanged():
                self._phase = PHASES.get(event.phase, event.phase)
            case ToolStarted():
                self._running[event.call] = f"{event.name} {event.target}".strip()
            case ToolFinished():
                self._running.pop(event.call, None)
            case Stalled():
                self._phase = f"{event.what}: nothing for {event.seconds:.0f} s"
            case BrainChanged() if event.mode == "rules":
                self._phase = f"rules: {event.why}"
            case _:
                return
        self._paint()

    def _paint(self) -> None:
        doing = ", ".join(self._running.values())
        text = one_line(f"{self._phase}: {doing}" if doing else self._phase)
        elapsed = time.monotonic() - self._started
        if self._live:
            width = shutil.get_terminal_size().columns
            line = one_line(f"{elapsed:4.1f} s  {text}", max(width - 1, 10))
            self._write(f"\r\x1b[K{line}")
            self._shown = line
        elif not self._silent and elapsed > PATIENCE_S and self._phase != self._shown:
            self._write(f"{one_line(self._phase)}\n")
            self._shown = self._phase

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()
