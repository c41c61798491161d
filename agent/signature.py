"""The signature of a diagnosis: exact over its causes, coarse over component and exception."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EXCEPTION = re.compile(
    r"\b(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Interrupt|Exit|Fault))\b(?=$|[\s:(\]'\"`,.;])"
)


@dataclass(frozen=True, slots=True)
class CauseKey:
    """What one cause is found again by; ``exception`` is a type without its module, or empty."""

    cause: str
    component: str
    exception: str


def fingerprint_of(report: Mapping[str, Any]) -> str:
    """Return the signature of a diagnosis, 12 hexadecimal digits: its causes, in any order."""
    causes = "|".join(sorted(cause["id"] for cause in report["causes"]))
    return hashlib.sha256(causes.encode()).hexdigest()[:12]


def cause_keys(report: Mapping[str, Any]) -> tuple[CauseKey, ...]:
    """Return the coarse keys of a report's causes, each once."""
    quotes = {item["id"]: str(item["quote"]) for item in report.get("evidence", [])}
    return tuple(
        CauseKey(
            cause=str(cause["id"]),
            component=str(cause.get("component", "")),
            exception=_exception(
                str(cause["title"]), *(quotes.get(ref, "") for ref in cause.get("evidence", []))
            ),
        )
        for cause in {cause["id"]: cause for cause in report["causes"]}.values()
    )


def _exception(*texts: str) -> str:
    for text in texts:
        if found := _EXCEPTION.search(text):
            return found.group(1)
    return ""
