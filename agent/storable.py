"""What may reach the disk: canonical text only, secrets and callers' words replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A runbook's own prose, reviewed by a person: `--update-secrets HF_TOKEN=hf-token:latest` in a
# fix names a secret and holds none, and must stay a command that works.
_CURATED = ("fix", "explanation")


def storable_text(text: str) -> str:
    """Return the canonical form of a text; see ``tools.logs.canonical``."""
    from tools.logs.canonical import canonical_text  # RE2 is slow to import, and reading needs none

    return canonical_text(text)


def storable(value: Any) -> Any:
    """Return a JSON value with every text in it canonical, keys included."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {storable_text(str(key)): storable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable(part) for part in value]
    return value


def storable_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with every text canonical but the prose of its runbooks."""
    plain: dict[str, Any] = storable(report)
    for kept, cause in zip(plain.get("causes", []), report.get("causes", []), strict=True):
        if cause.get("runbook"):
            kept.update({name: cause[name] for name in _CURATED if name in cause})
    return plain


def storable_answer(answer: str, report: Mapping[str, Any] | None) -> str:
    """Return an answer canonical line by line, runbook prose that stands in it left alone."""
    curated = [
        text
        for cause in (report or {}).get("causes", [])
        if cause.get("runbook")
        for text in (cause.get("explanation", ""), *cause.get("fix", []))
        if text
    ]
    if not any(text in answer for text in curated):
        return storable_text(answer)
    return "\n".join(
        line if any(_is_prose(line, text) for text in curated) else storable_text(line)
        for line in answer.split("\n")
    )


def _is_prose(line: str, text: str) -> bool:
    # "3. " may stand before a step; more than that is somebody else's text.
    return line.endswith(text) and line[: -len(text)].strip(" .0123456789-*") == ""
