"""Approving a runbook: checked, shown, then written and recorded.

Only a person's command leads here; the model has no tool that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from agent.memory import Memory
from runbooks.catalog import Catalog
from runbooks.lifecycle import approved_text, save_text
from runbooks.lint import Finding, lint_runbook
from runbooks.runbook import Runbook, parse_runbook


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a person is asked to approve: the text as it will stand, and what it would do."""

    runbook: Runbook
    text: str
    findings: tuple[Finding, ...]
    overrides: bool
    displaces: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield what it is, how it recognises its failure, and what it overrides."""
        yield f"{self.runbook.id}: {self.runbook.title}"
        for rule in self.runbook.rules:
            sure = "decisive" if rule.decisive else "a match makes it likely"
            for leaf in rule.leaves():
                if leaf.line:
                    yield f"recognised ({leaf.on}, {sure}): {leaf.line}"
                elif leaf.fact:
                    yield f"recognised ({sure}): the fact {leaf.fact}"
        if self.overrides:
            yield f"It overrides the shipped runbook {self.runbook.id}."
        for name in self.displaces:
            yield f"It displaces {name} where both match."
        yield "Approved, it names this cause in diagnoses."


def proposal_of(
    book: Runbook, catalog: Catalog, *, without: Sequence[str] = (), today: date | None = None
) -> Proposal:
    """Return what approving a runbook means. Raises UsageError if its status forbids it."""
    day = today or datetime.now(UTC).date()
    text = approved_text(book, day)
    after = parse_runbook(text, book.path or book.id)
    others = catalog.without(*(name for name in without if name not in after.excludes))
    shipped = Catalog.load().get(after.id)
    return Proposal(
        runbook=after,
        text=text,
        findings=tuple(lint_runbook(after, others, today=day)),
        overrides=shipped is not None,
        displaces=after.excludes,
    )


def approve_runbook(proposal: Proposal, memory: Memory, folder: Path) -> dict[str, Any]:
    """Write the file into the person's folder and record the approval; return it with its path."""
    path = save_text(proposal.text, proposal.runbook, folder)
    saved = parse_runbook(path.read_text("utf-8"), str(path))
    approval = memory.approvals.approve(saved, overrides=proposal.overrides)
    return {**approval, "path": str(path)}
