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
        # Without a runbook the title is an exception's message: the process's words, not ours.
        title = cause["title"] if cause["runbook"] else plain_markdown(cause["title"])
        parts.append(f"**{title}** ({cause['confidence']}) {ids}\n\n{cause['explanation']}")
        if cause["fix"]:
            parts.append("\n".join(f"{n}. {step}" for n, step in enumerate(cause["fix"], 1)))
    if report["gaps"]:
        parts.append(
            "Not seen:\n\n" + "\n".join(f"- {plain_markdown(gap)}" for gap in report["gaps"])
        )
    if seen := _seen_before(report):
        parts.append(seen)
    return "\n\n".join(parts)


def plain_markdown(text: str) -> str:
    """Return foreign text so that Markdown makes no link, image or tag of it."""
    return text.replace("](", "] (").replace("<", "‹").replace(">", "›")


def _seen_before(report: Mapping[str, Any]) -> str:
    parts = []
    for row in report["similar"]:
        when = row["last_seen"][:10]
        if times := row.get("times"):
            text = f"Seen {times} time{'s' if times != 1 else ''} before, last on {when}"
            fixed = f"last fixed by: {row['fixed_by']} ({row['fixed_in']})"
            parts.append(f"{text}; {fixed}" if row["fixed_by"] else text)
        elif row["match"] != "exact":
            text = f"Like {row['id']} of {when}: {row['title']}"
            parts.append(text + (f"; fixed by: {row['resolution']}" if row["resolution"] else ""))
    return " ".join(f"{part.rstrip('.')}." for part in parts)
