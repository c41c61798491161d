"""The rules' own words: a report as a few plain sentences in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEVELS = {
    "healthy": "Nothing is wrong that could be seen.",
    "confirmed": "The cause is confirmed.",
    "likely": "There is a likely cause, not proven.",
    "insufficient": "There is not enough evidence to name a cause.",
}


def summary(report: Mapping[str, Any]) -> str:
    """Return the report in a few sentences; each cause with its evidence ids and first steps."""
    target = report["target"]
    name = target.get("service") or target["kind"]
    parts = [f"**{name}**: {_LEVELS[report['verdict']]} {report['impact']}"]
    for cause in report["causes"]:
        ids = " ".join(f"[{ref}]" for ref in cause["evidence"])
        parts.append(
            f"**{cause['title']}** ({cause['confidence']}) {ids}\n\n{cause['explanation']}"
        )
        if cause["fix"]:
            parts.append("\n".join(f"{n}. {step}" for n, step in enumerate(cause["fix"], 1)))
    if report["gaps"]:
        parts.append("Not seen:\n\n" + "\n".join(f"- {gap}" for gap in report["gaps"]))
    if report["similar"]:
        parts.append(_seen_before(report["similar"]))
    return "\n\n".join(parts)


def _seen_before(similar: list[Mapping[str, Any]]) -> str:
    times = sum(row["count"] for row in similar)
    fixed = next((row["resolution"] for row in similar if row["resolution"]), "")
    plural = "s" if times != 1 else ""
    text = f"Seen {times} time{plural} before, last on {similar[0]['last_seen'][:10]}"
    return text + (f"; last fixed by: {fixed}." if fixed else ".")
