"""Failure → draft: a complete and honest runbook from what was seen, without the model.

Everything in it stands in the evidence or comes from code; what is not known is said to be so.
It carries a learned signature and the status ``draft``: until a person approves it, it changes no
verdict. ``agent.drafting`` may put a model's prose before these sections, sentence by sentence
checked against the same evidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from runbooks.catalog import Catalog
from runbooks.draft_case import DraftCase, join_ids
from runbooks.draft_sections import NOT_REVIEWED, sections_of
from runbooks.draft_signature import NoSignature, Signature, learn_signature
from runbooks.draft_words import split_words
from runbooks.lint import Finding, lint_runbook
from runbooks.runbook import Runbook, render_runbook
from tools.errors import UsageError

__all__ = ["NOT_REVIEWED", "Draft", "draft_runbook", "with_prose"]

MAX_TITLE = 110
MAX_NEVER = 4
_SLUG = re.compile(r"[a-z0-9]+")
_PLAIN_WORD = re.compile(r"[a-z]{2,}")


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted runbook, the case and the signature that it rests on, and what lint says of it."""

    runbook: Runbook
    case: DraftCase
    signature: Signature
    findings: tuple[Finding, ...] = ()

    @property
    def text(self) -> str:
        """Return the file's text."""
        return self.runbook.text


def draft_runbook(
    case: DraftCase,
    catalog: Catalog,
    *,
    without: Sequence[str] = (),
    today: date | None = None,
    runbook_id: str = "",
) -> Draft:
    """Return the draft for a case; ``without`` are runbooks that it is to stand in for.

    Raises UsageError where a runbook of the catalog recognises the failure already, and where no
    expression tells it from others.
    """
    known = [item for item in case.known if item[0] not in without]
    if known:
        raise UsageError(
            f"The failure is known already: {known[0][0]} ({known[0][1]}).",
            fix=f"`gemma-sre runbook show {known[0][0]}`, or draft anew with --without "
            f"{known[0][0]}.",
        )
    others = catalog.without(*without)
    left_out = Catalog.of([book for key, book in catalog.runbooks.items() if key in without])
    try:
        signature = learn_signature(
            case.spoken, others, left_out=left_out, also=case.also, before=case.before
        )
    except NoSignature as error:
        words = case.spoken.text.splitlines()[0][:120]
        raise UsageError(
            f"No signature can be learned from {words!r}: {error}.",
            fix="Write the runbook by hand, with a rule that tells it from others.",
        ) from error
    day = today or datetime.now(UTC).date()
    runbook = Runbook(
        id=runbook_id or _new_id(case, catalog),
        title=_title(case),
        severity="critical" if _ended(case) else "high",
        component=_component(case),
        platforms=(case.platform,) if case.platform else (),
        confidence="inferred",
        kind="cause",
        rules=(signature.rule,),
        blames=tuple(name for name, _ in case.suspects),
        excludes=signature.overlaps,
        fix=_fix(case),
        sources=(case.source,),
        reviewed=day,
        status="draft",
        sections=sections_of(case, signature, day),
        examples=(signature.example,),
        never=_never(case),
    )
    return _finished(runbook, case, signature, catalog, day)


def with_prose(
    draft: Draft, prose: Mapping[str, Sequence[str]], note: str, catalog: Catalog
) -> Draft:
    """Return the draft with a model's checked sentences before the sections they belong to.

    ``note`` says who wrote them and how many were dropped.
    """
    sections = dict(draft.runbook.sections)
    for name, sentences in prose.items():
        if sentences and name in sections:
            sections[name] = _after_mark(sections[name], " ".join(sentences))
    sections["Evidence"] += f"\n\n{note}"
    runbook = replace(draft.runbook, sections=sections, text="")
    return _finished(runbook, draft.case, draft.signature, catalog, draft.runbook.reviewed)


def _after_mark(section: str, sentences: str) -> str:
    if section.startswith(NOT_REVIEWED):
        mark, _, rest = section.partition("\n\n")
        return f"{mark}\n\n{sentences}\n\n{rest}"
    return f"{sentences}\n\n{section}"


def _finished(
    runbook: Runbook, case: DraftCase, signature: Signature, catalog: Catalog, day: date
) -> Draft:
    runbook = replace(runbook, text=render_runbook(runbook))
    return Draft(runbook, case, signature, tuple(lint_runbook(runbook, catalog, today=day)))


def _new_id(case: DraftCase, catalog: Catalog) -> str:
    """Return an id of the message's first words, with a number if it is taken."""
    whole = (case.spoken.message.splitlines() or [""])[0]
    parts = split_words(whole, case.spoken.values)
    first = " ".join(part.text for part in parts if not part.kind)
    words = [word for word in _SLUG.findall(first.casefold()) if _PLAIN_WORD.fullmatch(word)]
    kind = _SLUG.findall(case.spoken.type.rpartition(".")[2].casefold())
    name = "-".join((words if len(words) > 2 else [*kind, *words])[:7])[:60].strip("-") or "draft"
    number, found = 1, name
    while catalog.get(found) is not None and catalog.runbooks[found].status == "shipped":
        number += 1
        found = f"{name}-{number}"
    return found


def _title(case: DraftCase) -> str:
    first = " ".join((case.spoken.text.splitlines() or [""])[0].split())
    first = re.sub(r"[.,:;]?\s*(?:Reasons?)?[\s:]*$", "", first)
    return first if len(first) <= MAX_TITLE else first[: MAX_TITLE - 1].rstrip() + "…"


def _ended(case: DraftCase) -> bool:
    return bool(case.ended) or case.facts.get("logs.ready") is False


def _component(case: DraftCase) -> str:
    if case.spoken.on == "platform":
        return "cloud-run" if case.platform in ("", "cloud-run") else case.platform
    if "OutOfMemory" in case.spoken.type:
        return "memory"
    if case.frames and case.frames[-1].startswith("torch/cuda"):
        return "cuda"
    if case.platform in ("tpu", "vertex", "gke", "gce") and not case.frames:
        return case.platform
    return "vllm"


def _fix(case: DraftCase) -> tuple[str, ...]:
    steps = [
        f"The exception's own words name {name}, which is {{arg.{name}}} in this launch: "
        "take it out, or change it, and deploy again."
        for name, _ in case.suspects
    ]
    steps.append(
        "No fix has been tested: this runbook was drafted from one failure. Read the words of the "
        "exception, and write down what helped."
    )
    steps.append("If a deployment was rolled out just before, go back to the revision before it.")
    return tuple(steps)


def _never(case: DraftCase) -> tuple[str, ...]:
    """Return lines near to the failure's words that are not it: those that share most words."""
    words = set(_PLAIN_WORD.findall(case.spoken.text.casefold()))
    lines = [text for text in case.before if "\n" not in text and text.strip()]
    scored = sorted(
        ((len(words & set(_PLAIN_WORD.findall(text.casefold()))), text[:300]) for text in lines),
        key=lambda item: (-item[0], item[1]),
    )
    least = max(4, len(words) // 3)
    return tuple(text for shared, text in scored[:MAX_NEVER] if shared >= least)


def summary(draft: Draft) -> str:
    """Return what a person is told of a draft, in a few lines."""
    rule = draft.signature.rule
    lines = [
        f"{draft.runbook.id}: {draft.runbook.title}",
        f"Drafted from {draft.case.source}. Not reviewed; it changes no verdict.",
        f"Signature ({rule.on}): {rule.line}",
        f"It matches {draft.signature.must_match} of {draft.signature.must_match} texts that it "
        f"must, and none of {draft.signature.must_not_match} that it must not.",
        f"Evidence: {len(draft.case.evidence)} pieces; told by {join_ids(draft.case.told)}.",
    ]
    return "\n".join(lines)
