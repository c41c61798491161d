"""What an answer may rest on: the evidence of a report, what code wrote, what runbooks advise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent.evidence import EvidenceList
from agent.numbers import fact_numbers, quoted_numbers
from agent.proposals import Allowed
from agent.wording import content_words
from runbooks.catalog import Catalog
from runbooks.runbook import Runbook
from tools.domain import Scalar

Numbers = frozenset[tuple[Decimal, str]]

# {E3.vllm.kv_usage} or, where no other fact of E3 ends so, {E3.kv_usage}.
SLOT = re.compile(r"\{(E\d{1,4})\.([a-z][a-z0-9_.]*)\}")


@dataclass(frozen=True, slots=True)
class Ground:
    """One piece of evidence as claims are checked against it."""

    text: str  # canonical, spaces collapsed
    words: frozenset[str]
    numbers: Numbers
    facts: Mapping[str, Scalar] = field(default_factory=dict)

    def slot(self, name: str) -> str | None:
        """Return the figure that a slot of this evidence names, None when it has no such fact."""
        found = {
            value
            for fact, value in self.facts.items()
            if fact == name or fact.endswith(f".{name}") or fact.replace(".", "_") == name
        }
        if len(found) != 1:
            return None
        (value,) = found
        return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class CauseGround:
    """A cause of the verdict: what names it and the numbers that its runbook states."""

    id: str
    title: str
    confidence: str
    evidence: tuple[str, ...]
    words: frozenset[str]
    title_words: frozenset[str]
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Grounds:
    """Everything that an answer is checked against."""

    level: str
    evidence: Mapping[str, Ground]
    causes: tuple[CauseGround, ...]
    written: str  # by code: titles, explanations, impact, gaps
    words: frozenset[str]  # of what code wrote, and of the matched runbooks
    advice: frozenset[str]  # of fixes and runbook sections
    advice_text: str
    advice_numbers: Numbers
    unnumbered: tuple[tuple[frozenset[str], str, Numbers], ...]  # changes, gaps, impact: no ids
    others: Mapping[str, tuple[str, frozenset[str]]]  # runbooks that are not the verdict
    allowed: Allowed
    service: str = ""

    @classmethod
    def of(
        cls,
        report: Mapping[str, Any],
        evidence: EvidenceList | None = None,
        catalog: Catalog | None = None,
    ) -> Grounds:
        """Collect the grounds of a report; ``evidence`` brings whole texts and facts."""
        causes = report.get("causes", [])
        matched = _runbooks(causes, catalog)
        fixes = [step for cause in causes for step in cause["fix"]]
        sections = [text for runbook in matched for text in runbook.sections.values()]
        target = report.get("target", {})
        state = f"{report.get('service_state', '')}. {report.get('impact', '')}"
        written = [
            *(f"{c['id']} {c['title']} {c['component']} {c['explanation']}" for c in causes),
            state,
            " ".join(str(part) for part in target.values()),
        ]
        advice = frozenset().union(*(content_words(t) for t in (*fixes, *sections)), frozenset())
        changes = [f"{c['what']} {c['from']} {c['to']}" for c in report.get("changes", [])]
        gaps = [str(gap) for gap in report.get("gaps", [])]
        words = content_words(" ".join([*written, *(c["what"] for c in report.get("changes", []))]))
        return cls(
            level=report.get("verdict", "insufficient"),
            evidence=_evidence(report, evidence),
            causes=tuple(_cause(cause, report) for cause in causes),
            written=collapse(" ".join([*written, *fixes, *gaps])),
            words=words | advice,
            advice=advice,
            advice_text=collapse(" ".join([*fixes, *sections])).lower(),
            advice_numbers=quoted_numbers(" ".join([*fixes, *sections])),
            unnumbered=tuple(
                (content_words(text), collapse(text), quoted_numbers(text))
                for text in (*changes, *gaps, state)
            ),
            others=_others(causes, catalog),
            allowed=Allowed.of(fixes, matched),
            service=str(target.get("service") or ""),
        )


def slots_of(evidence: EvidenceList) -> dict[str, list[str]]:
    """Return the slots that code can fill, by evidence id: ``{"E3": ["vllm.kv_usage"]}``."""
    return {
        item.id: [name for name, value in item.facts.items() if not isinstance(value, bool)]
        for item in evidence.items
        if item.facts
    }


def collapse(text: str) -> str:
    """Return the text with every run of white space as one space."""
    return " ".join(text.split())


def _evidence(report: Mapping[str, Any], evidence: EvidenceList | None) -> dict[str, Ground]:
    known = {item.id: item for item in evidence.items} if evidence is not None else {}
    found = {}
    for row in report.get("evidence", []):
        item = known.get(row["id"])
        facts = item.facts if item is not None else {}
        text = (item.text if item is not None and item.text else "") or row["quote"]
        names = " ".join(f"{name} {value}" for name, value in facts.items())
        found[row["id"]] = Ground(
            text=collapse(text),
            words=content_words(f"{text} {names.replace('.', ' ')} {row['source']}"),
            numbers=quoted_numbers(f"{text} {row.get('time') or ''}")
            | fact_numbers(facts)
            | _clock(row.get("time")),
            facts=facts,
        )
    return found


def _clock(time: str | None) -> Numbers:
    # A time of day reads as a number: 03:41 stands where the evidence has that minute.
    if not time or "T" not in time:
        return frozenset()
    return quoted_numbers(time.partition("T")[2].rstrip("Z").replace(":", " "))


def _cause(cause: Mapping[str, Any], report: Mapping[str, Any]) -> CauseGround:
    quotes = [e["quote"] for e in report["evidence"] if e["id"] in cause["evidence"]]
    told = f"{cause['title']} {cause['id']} {cause['component']} {cause['explanation']}"
    return CauseGround(
        id=cause["id"],
        title=cause["title"],
        confidence=cause["confidence"],
        evidence=tuple(cause["evidence"]),
        words=content_words(" ".join([told, *quotes])),
        title_words=content_words(cause["title"]),
        numbers=quoted_numbers(" ".join([cause["explanation"], *cause["fix"]])),
    )


def _runbooks(causes: Iterable[Mapping[str, Any]], catalog: Catalog | None) -> list[Runbook]:
    if catalog is None:
        return []
    found = (catalog.get(cause["runbook"]) for cause in causes if cause.get("runbook"))
    return [runbook for runbook in found if runbook is not None]


def _others(
    causes: Iterable[Mapping[str, Any]], catalog: Catalog | None
) -> dict[str, tuple[str, frozenset[str]]]:
    if catalog is None:
        return {}
    named = {cause.get("runbook") for cause in causes}
    return {
        runbook.id: (runbook.title, content_words(runbook.title))
        for runbook in catalog.in_force
        if runbook.kind == "cause" and runbook.id not in named
    }
