"""Check a runbook: its parts, its commands, its signature, its age."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from runbooks.catalog import Catalog
from runbooks.fix import SLOT
from runbooks.runbook import SECTIONS, Example, Runbook
from runbooks.shell import (
    check_command,
    fenced_commands,
    inline_commands,
    inline_options,
    known_options,
)
from runbooks.trial import try_example

COMPONENTS = (
    "build",
    "client",
    "cloud-run",
    "cuda",
    "gce",
    "gke",
    "hugging-face",
    "iam",
    "image",
    "logging",
    "memory",
    "network",
    "quota",
    "storage",
    "tpu",
    "vertex",
    "vllm",
)
STALE_AFTER = timedelta(days=365)
PROGRAMS = ("gcloud", "vllm", "curl", "docker", "kubectl")
_EVIDENCE_ID = re.compile(r"\[(E\d+)\]")
_EVIDENCE_ENTRY = re.compile(r"^- \*\*(E\d+)\*\*", re.MULTILINE)
_CITING = re.compile(r"[^\n]*?(?:\[E\d+\][ ,]*)+")  # up to the ids that a sentence cites
_QUOTED = re.compile(r'["“]([^"“”\n]{3,})["”]')
_CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where: a section, a key or a command."""

    severity: Literal["error", "warning"]
    where: str
    message: str


def lint_runbook(runbook: Runbook, catalog: Catalog, *, today: date | None = None) -> list[Finding]:
    """Return what is wrong with a runbook; ``catalog`` holds the library that it joins."""
    day = today or datetime.now(UTC).date()
    return [
        *_front_matter(runbook, catalog, day),
        *_sections(runbook),
        *_commands(runbook),
        *_evidence(runbook),
        *_signature(runbook, catalog),
    ]


def _error(where: str, message: str) -> Finding:
    return Finding("error", where, message)


def _front_matter(runbook: Runbook, catalog: Catalog, today: date) -> Iterator[Finding]:
    if runbook.component not in COMPONENTS:
        yield Finding("warning", "component", f"{runbook.component!r} is not one of the usual ones")
    for key, ids in (("may_be", runbook.may_be), ("excludes", runbook.excludes)):
        for other in ids:
            if other == runbook.id or catalog.get(other) is None:
                yield _error(key, f"{other!r} is no other runbook of the library")
    for other in runbook.excludes:
        displaced = catalog.get(other)
        if displaced and runbook.id in displaced.excludes:
            yield _error("excludes", f"{other!r} and this runbook displace each other")
    if runbook.kind == "symptom" and not runbook.may_be:
        yield _error("may_be", "a symptom must name the causes that it may have")
    if runbook.kind == "cause" and not runbook.fix:
        yield _error("fix", "a cause needs at least one step")
    if not runbook.sources:
        yield _error("sources", "it names no source")
    if runbook.reviewed > today:
        yield _error("reviewed", f"{runbook.reviewed} lies in the future")
    elif today - runbook.reviewed > STALE_AFTER:
        yield Finding("warning", "reviewed", f"nobody has looked at it since {runbook.reviewed}")


def _sections(runbook: Runbook) -> Iterator[Finding]:
    for name in SECTIONS:
        if not runbook.sections.get(name, "").strip():
            yield _error(name, "the section is missing or empty")
    order = [name for name in SECTIONS if name in runbook.sections]
    if list(runbook.sections) != order:
        yield Finding("warning", "sections", f"the usual order is {', '.join(order)}")


def _commands(runbook: Runbook) -> Iterator[Finding]:
    effects: dict[str, list[str]] = {}
    for name, text in runbook.sections.items():
        try:
            commands = fenced_commands(text) + inline_commands(text, PROGRAMS)
        except ValueError as error:
            yield _error(name, f"a command can't be parsed: {error}")
            continue
        for command in commands:
            checked = check_command(command)
            effects.setdefault(name, []).append(checked.effect)
            yield from (_error(name, f"{problem}, in: {command}") for problem in checked.problems)
    for step in runbook.fix:
        plain = SLOT.sub("SLOT", step)
        try:
            commands = inline_commands(plain, PROGRAMS)
        except ValueError as error:
            yield _error("fix", f"a command can't be parsed: {error}")
            continue
        for command in commands:
            checked = check_command(command)
            effects.setdefault("fix", []).append(checked.effect)
            yield from (_error("fix", f"{problem}, in: {command}") for problem in checked.problems)
        for option in inline_options(plain):
            name = option.split("=", 1)[0]
            if not any(
                name in known_options(program)
                or (program == "vllm" and name.split(".", 1)[0] in known_options(program))
                for program in PROGRAMS
            ):
                yield _error("fix", f"no list of options holds {name}")
    for name in ("Diagnosis", "Verify"):
        if "change" in effects.get(name, ()):
            yield _error(name, "a command of this section changes something")
    if "change" in effects.get("Mitigation", ()) or "change" in effects.get("fix", ()):
        if not effects.get("Verify"):
            yield _error("Verify", "a step changes something, and no command shows its effect")
        if not effects.get("Rollback"):
            yield _error("Rollback", "a step changes something, and no command takes it back")


def _evidence(runbook: Runbook) -> Iterator[Finding]:
    entries = _EVIDENCE_ENTRY.split(runbook.sections.get("Evidence", ""))
    known = dict(zip(entries[1::2], entries[2::2], strict=True))
    for name, text in runbook.sections.items():
        prose = _CODE.sub("", text)  # what a log printed cites nothing
        for evidence in dict.fromkeys(_EVIDENCE_ID.findall(prose)):
            if evidence not in known:
                yield _error(name, f"{evidence} does not stand in the section Evidence")
        if name == "Evidence":
            continue
        for sentence in _CITING.findall(prose):
            cited = [known[ref] for ref in _EVIDENCE_ID.findall(sentence) if ref in known]
            for quote in _QUOTED.findall(sentence):
                if cited and not any(quote in entry for entry in cited):
                    yield _error(name, f"the evidence does not hold the quote {quote[:80]!r}")


def _signature(runbook: Runbook, catalog: Catalog) -> Iterator[Finding]:
    alone = Catalog.of([_in_force(runbook)])
    if not runbook.examples:
        yield _error("examples", "there is no case that the rules must recognise")
    for index, example in enumerate(runbook.examples):
        if not try_example(alone, example):
            yield _error(f"examples[{index}]", "its own rules do not recognise it")
    for index, line in enumerate(runbook.never):
        if try_example(alone, Example(lines=(line,))):
            yield _error(f"not[{index}]", "its own rules match a line that they must not match")
    for other in catalog.runbooks.values():
        if other.id == runbook.id or related(runbook, other):
            continue
        for example in other.examples:
            if try_example(alone, example):
                yield _error("rules", f"they also match an example of {other.id}")
                break


def related(runbook: Runbook, other: Runbook) -> bool:
    """Say whether a match on the other's example is meant: displaced by it, or its symptom."""
    return (
        runbook.id in other.excludes
        or (runbook.kind != "cause" and other.id in runbook.may_be)
        or (other.kind != "cause" and runbook.id in other.may_be)
        # A draft made with an entry left out says so, and displaces it once it is approved.
        or (runbook.status != "shipped" and other.id in runbook.excludes)
    )


def _in_force(runbook: Runbook) -> Runbook:
    from dataclasses import replace

    return replace(runbook, status="shipped")
