"""What was read of a log, and what was not and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

MAX_NOTES = 20


@dataclass(slots=True)
class LogReport:
    """What was read, and what was not and why; complete once the records were."""

    entries: int = 0
    skipped: int = 0
    replaced: int = 0  # lines with bytes that are no UTF-8
    cut_lines: int = 0  # lines longer than 256 KiB
    longest_line: int = 0  # bytes, of those
    truncated: bool = False
    first: datetime | None = None
    last: datetime | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a sentence for the person, the first twenty of them."""
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def problems(self) -> tuple[str, ...]:
        """Return what was lost, as sentences; none if everything was read."""
        found = list(self.notes)
        if self.skipped:
            found.append(f"{count_of(self.skipped, 'entry', 'entries')} skipped: not log entries.")
        if self.replaced:
            found.append(
                f"{count_of(self.replaced, 'line')} with invalid UTF-8: those bytes are shown as �."
            )
        if self.cut_lines:
            found.append(
                f"{count_of(self.cut_lines, 'line')} over 256 KiB cut there; the longest had"
                f" {self.longest_line:,} bytes."
            )
        return tuple(found)


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
