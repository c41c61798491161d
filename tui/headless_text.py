"""A report as calm text of 80 columns, with a glyph and a word for every state."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from tui import report as parts
from tui.plain import glyph, one_line
from tui.report import Report

WIDTH = 80
QUOTE_LINES = 6
QUOTE_CHARACTERS = 900

_COLORS = {"healthy": "32", "confirmed": "31", "likely": "33", "insufficient": "35"}


class Paint:
    """Bold and colour for a terminal, or neither; never the only sign of anything."""

    def __init__(self, on: bool = False) -> None:
        self._on = on

    def bold(self, text: str) -> str:
        """Return the text in bold."""
        return f"\x1b[1m{text}\x1b[0m" if self._on else text

    def state(self, state: str, text: str) -> str:
        """Return the text in the colour of a state."""
        code = _COLORS.get(state)
        return f"\x1b[1;{code}m{text}\x1b[0m" if self._on and code else text


def render_text(report: Report, *, paint: Paint | None = None, encoding: str = "utf-8") -> str:
    """Return the report as text, ending in a newline."""
    paint = paint or Paint()
    verdict = parts.verdict_of(report)
    badge = f"   {parts.SIMULATED}" if parts.is_simulated(report) else ""
    head = paint.state(verdict, f"{glyph(verdict, encoding)} {parts.headline(report)}")
    lines = [head + paint.bold(badge), *wrap(parts.target_line(report), "  ")]
    lines += wrap("service " + parts.state_line(report), "  ")
    causes = parts.rows(report, "causes")
    for number, cause in enumerate(causes, 1):
        lines += ["", *_cause(cause, number, paint)]
    lines += _evidence(report, paint)
    lines += _section("Changes since the last good revision", parts.change_lines(report), paint)
    lines += _section("Hypotheses (the model's, not proven)", parts.hypothesis_lines(report), paint)
    lines += _section("Could not be seen", parts.texts(report, "gaps"), paint)
    lines += _section("Similar incidents", parts.similar_lines(report), paint)
    lines += ["", *wrap(f"judged by {parts.brain_line(report)}", "")]
    incident = one_line(report.get("incident") or "none recorded")
    lines += wrap(f"incident {incident}; {parts.stats_line(report)}", "")
    return "\n".join(lines) + "\n"


def wrap(text: str, indent: str, first: str | None = None, *, whole: bool = True) -> list[str]:
    """Return the text on lines of at most WIDTH; ``whole`` keeps long words for copying."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=not whole,
        break_on_hyphens=False,
    ) or [indent.rstrip()]


def _cause(cause: Mapping[str, Any], number: int, paint: Paint) -> list[str]:
    title = one_line(cause.get("title", ""))
    confidence = one_line(cause.get("confidence", "likely"))
    head = wrap(f"{title} [{confidence}]", "   ", f"{number}. ")
    lines = [paint.bold(line) for line in head]
    name = one_line(cause.get("runbook") or cause.get("id", ""))
    component = one_line(cause.get("component", ""))
    ids = ", ".join(parts.texts(cause, "evidence"))
    about = [f"runbook {name}" if cause.get("runbook") else f"id {name}", component]
    about.append(f"evidence {ids}" if ids else "")
    lines += wrap("; ".join(part for part in about if part), "   ")
    if cause.get("explanation"):
        lines += wrap(one_line(cause["explanation"]), "   ")
    steps = parts.texts(cause, "fix")
    if steps:
        lines.append("   Fix:")
    for step, text in enumerate(steps, 1):
        lines += wrap(text, "      ", f"   {step}. ")
    return lines


def _evidence(report: Report, paint: Paint) -> list[str]:
    items = parts.cited_evidence(report)
    more = len(parts.rows(report, "evidence")) - len(items)
    lines = ["", paint.bold("Evidence")] if items else []
    for item in items:
        label = one_line(item.get("id", ""))
        lines += wrap(parts.evidence_head(item), "      ", f"  {label:<3} ")
        for line in parts.quote_lines(item, QUOTE_LINES, QUOTE_CHARACTERS):
            lines += wrap(line, "      | ", whole=False)
    if more:
        lines.append(f"  … {more} more piece{'s' if more > 1 else ''}; --json has all of them")
    return lines


def _section(title: str, items: Iterable[str], paint: Paint) -> list[str]:
    lines: list[str] = []
    for item in items:
        lines += wrap(item, "    ", "  - ")
    return ["", paint.bold(title), *lines] if lines else []
