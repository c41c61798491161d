"""What of a streaming answer may be shown at once, before it is known to be an answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from agent.messages import CONTROL_TEXT
from agent.repair import RUNAWAY

# How a tool call written as text begins: such a reply is shown only once it is judged.
_SUSPECT = ("{", "[", "```", "call:", "<")
_CALL_KEYS = re.compile(r"[\"'](?:name|tool|tool_name|function|tool_calls)[\"']\s*:")
_LONGEST = 24  # characters: longer than any control token


class Shown:
    """Pass an answer on as it streams; from the first sign of something else on, nothing."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._held = ""
        self._begun = False
        self._silent = False

    def feed(self, text: str) -> None:
        """Take the next piece, and show what is certainly part of an answer."""
        if self._silent or not text:
            return
        self._held += text
        if not self._begun:
            start = self._held.lstrip()
            if not start or any(word.startswith(start) for word in _SUSPECT):
                return
            if start.startswith(_SUSPECT):
                self._silent = True
                return
            self._begun = True
        self._pass_on(self._ready())

    def close(self) -> None:
        """Show what was held back and turned out to be harmless."""
        if self._begun and not self._silent:
            open_block = "```" in self._held and _CALL_KEYS.search(self._held)
            self._pass_on(0 if open_block else len(self._held))

    def _ready(self) -> int:
        for stop in (CONTROL_TEXT, RUNAWAY):
            found = stop.search(self._held)
            if found is not None:
                self._silent = True
                return found.start()
        fence = self._held.find("```")
        if fence >= 0:
            end = self._held.find("```", fence + 3)
            if end < 0:
                return fence
            if _CALL_KEYS.search(self._held, fence, end) or "tool_c" in self._held[fence:end]:
                self._silent = True
                return fence
            return end + 3
        ready = len(self._held)
        for sign in ("<", "`", "\n"):
            at = self._held.rfind(sign, max(0, ready - _LONGEST))
            # What may be the beginning of a control token or of a block waits for its end.
            if at >= 0 and (sign != "\n" or "\nuser\n".startswith(self._held[at:])):
                ready = min(ready, at)
        return len(self._held[:ready].rstrip("`"))

    def _pass_on(self, count: int) -> None:
        if count:
            self._emit(self._held[:count])
        self._held = self._held[count:]
