"""The runbook: a failure's signature with the prose that a person on call needs.

A file is Markdown with YAML front matter. The front matter says how the failure is recognised,
the eight sections of the body say what it means and what to do. ``docs/runbooks.md`` describes
every key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, cast

import yaml

from runbooks.document import read_front_matter, read_sections
from runbooks.fields import Fields
from runbooks.rule import Rule, read_rule, rule_data
from tools.domain import KINDS, Scalar
from tools.errors import RunbookError

__all__ = [
    "PLATFORMS",
    "SECTIONS",
    "Example",
    "Rule",
    "Runbook",
    "parse_runbook",
    "render_runbook",
]

Importance = Literal["critical", "high", "medium", "low"]
Confidence = Literal["verified", "inferred"]
RunbookKind = Literal["cause", "symptom", "noise"]
Status = Literal["shipped", "draft", "reviewed", "approved", "superseded"]

SEVERITIES: tuple[Importance, ...] = ("critical", "high", "medium", "low")
CONFIDENCES: tuple[Confidence, ...] = ("verified", "inferred")
RUNBOOK_KINDS: tuple[RunbookKind, ...] = ("cause", "symptom", "noise")
STATUSES: tuple[Status, ...] = ("shipped", "draft", "reviewed", "approved", "superseded")
PLATFORMS: tuple[str, ...] = (*KINDS, "build")  # build: an image is being built, nothing serves

SECTIONS = (
    "Meaning",
    "Impact",
    "Diagnosis",
    "Mitigation",
    "Verify",
    "Rollback",
    "Escalate",
    "Evidence",
)

KEYS = (
    "id",
    "title",
    "severity",
    "component",
    "platforms",
    "versions",
    "fixed_in",
    "confidence",
    "kind",
    "rules",
    "blames",
    "may_be",
    "excludes",
    "fix",
    "sources",
    "reviewed",
    "status",
    "examples",
    "not",
)
MAX_FILE = 256 * 1024  # characters; the longest shipped runbook has about 6,000
_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,79}")
_STATUS_LINE = re.compile(r"^status:.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """A case that the runbook must recognise: lines as printed, or facts and options."""

    lines: tuple[str, ...] = ()
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    args: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runbook:
    """One failure: how it is recognised, what it means, what to do.

    ``blames`` names the vLLM options that are at fault when the launch had them; ``may_be`` the
    causes that a symptom can have; ``excludes`` the less specific runbooks that this one
    displaces. ``versions`` is a PEP 440 range of vLLM versions, "" for any.
    """

    id: str
    title: str
    severity: Importance
    component: str
    platforms: tuple[str, ...] = ()
    versions: str = ""
    fixed_in: str = ""
    confidence: Confidence = "inferred"
    kind: RunbookKind = "cause"
    rules: tuple[Rule, ...] = ()
    blames: tuple[str, ...] = ()
    may_be: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reviewed: date = date(1970, 1, 1)
    status: Status = "draft"
    sections: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    never: tuple[str, ...] = ()  # ``not`` in the file: lines that must not match
    path: str = field(default="", compare=False)
    text: str = field(default="", compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the content; the status is no part of it, an edit is."""
        text = self.text or render_runbook(self)
        front, mark, body = text.partition("\n---\n")
        return hashlib.sha256(
            (_STATUS_LINE.sub("status:", front) + mark + body).encode("utf-8", "replace")
        ).hexdigest()


def parse_runbook(text: str, path: str) -> Runbook:
    """Return the runbook that a file's text holds.

    Raises RunbookError, which names the path, the key and, for an unknown key, the nearest one.
    """
    if len(text) > MAX_FILE:
        raise RunbookError(f"{path}: it has more than {MAX_FILE} characters.", path=path)
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    fields = Fields(read_front_matter(text, path), KEYS, path)
    runbook_id = fields.text("id")
    if not _ID.fullmatch(runbook_id):
        raise fields.error(
            "id", f"can't be {runbook_id[:90]!r}", "Use small letters, digits and hyphens."
        )
    kind = cast(RunbookKind, fields.choice("kind", RUNBOOK_KINDS, "cause"))
    rules = tuple(
        read_rule(rule, path, f"rules[{index}]") for index, rule in enumerate(fields.list("rules"))
    )
    if not rules:
        raise fields.error("rules", "is empty", "Say by which line or fact it is recognised.")
    if kind != "cause" and any(rule.decisive for rule in rules):
        raise fields.error("rules", f"can't be decisive: a {kind} is never a cause")
    platforms = fields.texts("platforms")
    for platform in platforms:
        if platform not in PLATFORMS:
            raise fields.error(
                "platforms", f"can't hold {platform!r}", f"Known: {', '.join(PLATFORMS)}."
            )
    return Runbook(
        id=runbook_id,
        title=fields.text("title"),
        severity=cast(Importance, fields.choice("severity", SEVERITIES)),
        component=fields.text("component"),
        platforms=platforms,
        versions=_versions(fields),
        fixed_in=fields.text("fixed_in", ""),
        confidence=cast(Confidence, fields.choice("confidence", CONFIDENCES, "inferred")),
        kind=kind,
        rules=rules,
        blames=fields.texts("blames"),
        may_be=fields.texts("may_be"),
        excludes=fields.texts("excludes"),
        fix=fields.texts("fix"),
        sources=fields.texts("sources"),
        reviewed=_date(fields),
        status=cast(Status, fields.choice("status", STATUSES, "draft")),
        sections=read_sections(text, path, SECTIONS),
        examples=_examples(fields),
        never=fields.texts("not"),
        path=path,
        text=text,
    )


def _versions(fields: Fields) -> str:
    versions = fields.text("versions", "")
    if versions:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(versions)
        except InvalidSpecifier as error:
            raise fields.error(
                "versions", f"is no version range: {versions!r}", "Write it like '>=0.18,<0.23'."
            ) from error
    return versions


def _date(fields: Fields) -> date:
    value = fields.raw("reviewed")
    if isinstance(value, datetime) or not isinstance(value, date):
        raise fields.error("reviewed", "must be a date", "Write it as 2026-01-31.")
    return value


def _examples(fields: Fields) -> tuple[Example, ...]:
    examples = []
    for index, item in enumerate(fields.list("examples")):
        if isinstance(item, str):
            examples.append(Example(lines=(item,)))
            continue
        part = Fields(item, ("lines", "facts", "args"), fields.path, f"examples[{index}]")
        examples.append(
            Example(
                lines=part.texts("lines"),
                facts={k: part.scalar(k, v) for k, v in part.mapping("facts").items()},
                args={k: part.scalar(k, v) for k, v in part.mapping("args").items()},
            )
        )
    return tuple(examples)


def render_runbook(runbook: Runbook) -> str:
    """Return the file's text; ``parse_runbook`` reads the same runbook back from it.

    Raises RunbookError when the content can't be written so, such as a section that holds
    another section's heading.
    """
    data: dict[str, Any] = {
        "id": runbook.id,
        "title": runbook.title,
        "severity": runbook.severity,
        "component": runbook.component,
        "platforms": list(runbook.platforms),
        "versions": runbook.versions,
        "fixed_in": runbook.fixed_in,
        "confidence": runbook.confidence,
        "kind": runbook.kind,
        "rules": [rule_data(rule) for rule in runbook.rules],
        "blames": list(runbook.blames),
        "may_be": list(runbook.may_be),
        "excludes": list(runbook.excludes),
        "fix": list(runbook.fix),
        "sources": list(runbook.sources),
        "reviewed": runbook.reviewed,
        "status": runbook.status,
        "examples": [_example_data(example) for example in runbook.examples],
        "not": list(runbook.never),
    }
    head = yaml.safe_dump(
        {key: value for key, value in data.items() if value not in ("", [])},
        sort_keys=False,
        allow_unicode=True,
        width=96,
    )
    body = "\n\n".join(f"## {name}\n\n{text}".strip() for name, text in runbook.sections.items())
    text = f"---\n{head}---\n\n{body}\n"
    if parse_runbook(text, runbook.path or runbook.id) != runbook:
        raise RunbookError(
            f"{runbook.path or runbook.id}: its content can't be written as a runbook file.",
            fix="Remove headings and stray spaces from the sections.",
            path=runbook.path,
        )
    return text


def _example_data(example: Example) -> Any:
    if len(example.lines) == 1 and not example.facts and not example.args:
        return example.lines[0]
    parts = {"lines": list(example.lines), "facts": dict(example.facts), "args": dict(example.args)}
    return {key: value for key, value in parts.items() if value}
