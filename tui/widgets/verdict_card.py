"""The verdict: level, causes with their evidence, fixes, gaps; every foreign text plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.reactive import var
from textual.widgets import Static

from tui import report as parts
from tui.messages import CopyAsked
from tui.plain import glyph, one_line
from tui.report import Report

FOLDED_QUOTE_LINES = 3
FOLDED_QUOTE_CHARACTERS = 240


class VerdictCard(Vertical, can_focus=True):
    """A report of ``diagnose --json``; space shows quotes whole and what stands behind."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "space,enter",
            "unfold",
            "Whole",
            id="verdict.toggle",
            tooltip="Show the evidence whole, or cut short",
        ),
        Binding("c", "copy", "Copy", id="verdict.copy", tooltip="Copy the verdict as Markdown"),
    ]

    expanded: var[bool] = var(False, toggle_class="-expanded", init=False)

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(classes=f"card verdict -{parts.verdict_of(report)}")

    def compose(self) -> ComposeResult:
        """Show the report."""
        yield from self._rows()

    def watch_expanded(self) -> None:
        """Show the other form."""
        self.run_worker(self.recompose(), exit_on_error=False)

    def action_unfold(self) -> None:
        """Show the evidence whole, or cut short."""
        self.expanded = not self.expanded

    def action_copy(self) -> None:
        """Ask for the report to be copied as Markdown."""
        from tui.headless_markdown import render_markdown

        self.post_message(CopyAsked(render_markdown(self.report), "verdict"))

    def _rows(self) -> Iterator[Static]:
        report = self.report
        verdict = parts.verdict_of(report)
        badge = f"   {parts.SIMULATED}" if parts.is_simulated(report) else ""
        yield _text(f"{glyph(verdict)} {parts.headline(report)}{badge}", "verdict-head")
        yield _text(parts.target_line(report), "quiet")
        yield _text(f"Service {parts.state_line(report)}", "")
        for number, cause in enumerate(parts.rows(report, "causes"), 1):
            yield from _cause(cause, number)
        yield from self._evidence()
        yield from self._list("Changes since the last good revision", parts.change_lines(report))
        yield from self._list(
            "Hypotheses (the model's, not proven)", parts.hypothesis_lines(report)
        )
        yield from self._list("Could not be seen", iter(parts.texts(report, "gaps")))
        yield from self._list("Similar incidents", parts.similar_lines(report))
        incident = one_line(report.get("incident") or "none recorded")
        foot = f"judged by {parts.brain_line(report)}; incident {incident}"
        yield _text(f"{foot}; {parts.stats_line(report)}", "quiet verdict-foot")

    def _evidence(self) -> Iterator[Static]:
        items = parts.rows(self.report, "evidence")
        shown = items if self.expanded else parts.cited_evidence(self.report)
        if shown:
            yield _text("Evidence", "section")
        for item in shown:
            yield _text(f"{one_line(item.get('id', ''))}  {parts.evidence_head(item)}", "quiet")
            limits = () if self.expanded else (FOLDED_QUOTE_LINES, FOLDED_QUOTE_CHARACTERS)
            yield _text("\n".join(parts.quote_lines(item, *limits)), "quote")
        if len(shown) < len(items):
            yield _text(f"… {len(items) - len(shown)} more (space shows all)", "quiet")

    def _list(self, title: str, lines: Iterator[str]) -> Iterator[Static]:
        found = list(lines)
        if found:
            yield _text(title, "section")
        for line in found:
            yield _text(f"- {line}", "")


def _cause(cause: Mapping[str, Any], number: int) -> Iterator[Static]:
    title = one_line(cause.get("title", ""))
    confidence = one_line(cause.get("confidence", "likely"))
    yield _text(f"{number}. {title} [{confidence}]", "section")
    about = []
    if cause.get("runbook"):
        about.append(f"runbook {one_line(cause['runbook'])}")
    if cause.get("component"):
        about.append(one_line(cause["component"]))
    if ids := ", ".join(parts.texts(cause, "evidence")):
        about.append(f"evidence {ids}")
    if about:
        yield _text("; ".join(about), "quiet indent")
    if cause.get("explanation"):
        yield _text(one_line(cause["explanation"]), "indent")
    steps = parts.texts(cause, "fix")
    if steps:
        yield _text("Fix", "indent section-small")
    for step, text in enumerate(steps, 1):
        yield _text(f"{step}. {text}", "indent")


def _text(text: str, classes: str) -> Static:
    return Static(text, markup=False, classes=classes)
