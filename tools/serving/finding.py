"""What a linter says, and what it is told: findings, the options as given, and their context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "hint"]
ORDER: tuple[Severity, ...] = ("error", "warning", "hint")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or risky: what, why, what to do, who says so, and where it holds."""

    severity: Severity
    flag: str
    why: str
    fix: str
    source: str = ""
    versions: str = ""  # of vLLM; "" is all

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON has it."""
        return {
            "severity": self.severity,
            "flag": self.flag,
            "why": self.why,
            "fix": self.fix,
            "source": self.source,
            "versions": self.versions,
        }


@dataclass(frozen=True)
class Given:
    """The options as they were given: (name, value) in order, and the words that are no option."""

    options: tuple[tuple[str, str | None], ...]
    words: tuple[str, ...]
    printed: bool = False  # vLLM printed them itself: quotes and spelling are past

    def get(self, *names: str) -> str | None:
        """Return the last value of the first of ``names`` that was given, "" without a value."""
        for wanted in names:
            for name, value in reversed(self.options):
                if name == wanted:
                    return value or ""
        return None

    def has(self, *names: str) -> bool:
        """Return whether one of ``names`` was given."""
        return any(name in names for name, _ in self.options)


@dataclass(frozen=True)
class Context:
    """What the options are for; "" is not known. ``packages`` are versions by name."""

    version: tuple[int, int]
    version_text: str
    accelerator: str = ""
    model: str = ""
    chips: int = 0
    env: Mapping[str, str] | None = None
    packages: Mapping[str, str] | None = None
