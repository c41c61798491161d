"""The answer that a turn ends with: the model's, checked, with what it left out added by code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent import narrate
from agent.claims import check_answer
from agent.evidence import EvidenceList
from agent.grounds import Grounds, collapse
from agent.narrate import plain_markdown
from agent.proposals import addresses_in, commands_in
from runbooks.catalog import Catalog
from tools.logs.canonical import canonical_text


@dataclass(frozen=True, slots=True)
class Settled:
    """An answer to show and to store; ``author`` is ``rules`` when nothing of the model stood."""

    text: str
    author: Literal["model", "rules"]
    struck: int = 0
    hypotheses: list[dict[str, str]] = field(default_factory=list)


def settle_answer(
    answer: str,
    report: Mapping[str, Any],
    *,
    evidence: EvidenceList | None = None,
    catalog: Catalog | None = None,
    question: str = "",
    strict: bool = True,
) -> Settled:
    """Check the model's answer and complete it; see ``check_answer`` for the arguments.

    A cause of the verdict that the answer does not name is added. When no statement of it may
    stand, the rules answer, and the model's words follow, struck. An empty report means that
    nothing is known.
    """
    checked = check_answer(
        answer, report, evidence=evidence, catalog=catalog, question=question, strict=strict
    )
    if checked.struck and not checked.kept:
        ours = (
            narrate.summary(report)
            if report
            else "Nothing is known yet that an answer could rest on: ask for a diagnosis first."
        )
        text = f"{ours}\n\nOf what the model said nothing stands in the evidence:\n\n{checked.text}"
        return Settled(text, "rules", checked.struck, checked.hypotheses)
    parts = [checked.text]
    if checked.struck:
        these = "1 statement" if checked.struck == 1 else f"{checked.struck} statements"
        parts.append(f"*{these} of the model struck: code found nothing that supports them.*")
    if strict:
        parts += [
            f"**{plain_markdown(cause['title'])}** ({cause['confidence']})"
            f" {' '.join(f'[{ref}]' for ref in cause['evidence'])}: the rules found this cause too;"
            " the model did not name it."
            for cause in report.get("causes", [])
            if cause["id"] in checked.omitted
        ]
    return Settled("\n\n".join(parts), "model", checked.struck, checked.hypotheses)


def settle_hypotheses(
    hypotheses: Sequence[Mapping[str, str]],
    report: Mapping[str, Any],
    catalog: Catalog | None = None,
) -> list[dict[str, str]]:
    """Return a model's hypotheses, without what they tell a person to run or to open."""
    if not hypotheses:
        return []
    allowed = Grounds.of(report, None, catalog).allowed

    def safe(text: str) -> str:
        text = collapse(canonical_text(text))
        if all(map(allowed.command, commands_in(text))) and all(
            map(allowed.address, addresses_in(text))
        ):
            return plain_markdown(text)
        return "(struck: it names a command or an address that no matched runbook has)"

    return [{name: safe(text) for name, text in row.items()} for row in hypotheses]
