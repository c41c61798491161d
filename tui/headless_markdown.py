"""A report as Markdown, for a ticket or a chat; foreign text never becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tui import report as parts
from tui.plain import clean, glyph, one_line
from tui.report import Report

# ASCII punctuation that may be escaped (CommonMark 0.31.2, section 2.4) and means something in
# the middle of a line; what means something only at a line's start can't stand there.
_SPECIAL = re.compile(r"([\\*_\[\]<>&|~!#$:@`])")
_CODE = re.compile(r"(`[^`\n]+`)")


def render_markdown(report: Report) -> str:
    """Return the report as Markdown, ending in a newline."""
    verdict = parts.verdict_of(report)
    badge = f" · {parts.SIMULATED}" if parts.is_simulated(report) else ""
    lines = [f"# {glyph(verdict)} {parts.headline(report).capitalize()}{badge}", ""]
    lines += [f"**{escape(parts.target_line(report))}**", ""]
    lines += [f"Service {escape(parts.state_line(report))}"]
    for cause in parts.rows(report, "causes"):
        lines += ["", *_cause(cause)]
    lines += _evidence(report)
    lines += _section("Changes since the last good revision", parts.change_lines(report))
    lines += _section("Hypotheses (the model's, not proven)", parts.hypothesis_lines(report))
    lines += _section("Could not be seen", parts.texts(report, "gaps"))
    lines += _section("Similar incidents", parts.similar_lines(report))
    incident = escape(one_line(report.get("incident") or "none recorded"))
    lines += ["", "---", "", f"Judged by {escape(parts.brain_line(report))}. Incident: {incident}."]
    lines += [f"{escape(parts.stats_line(report)).capitalize()}."]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return one line of foreign text so that Markdown shows it as it stands."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def prose(text: object) -> str:
    """Return one line of a runbook's prose: its code spans kept, all else escaped."""
    pieces = _CODE.split(one_line(text))
    return "".join(piece if _CODE.fullmatch(piece) else escape_piece(piece) for piece in pieces)


def escape_piece(text: str) -> str:
    """Return part of a line escaped, with its outer spaces."""
    return _SPECIAL.sub(r"\\\1", text)


def fenced(text: str) -> list[str]:
    """Return the text in a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.split("\n"), fence]


def _cause(cause: Mapping[str, Any]) -> list[str]:
    title = escape(one_line(cause.get("title", "")))
    lines = [f"## {title} ({escape(one_line(cause.get('confidence', 'likely')))})", ""]
    name = escape(one_line(cause.get("runbook") or cause.get("id", "")))
    about = [f"Runbook {name}" if cause.get("runbook") else f"Id {name}"]
    about += [escape(one_line(cause["component"]))] if cause.get("component") else []
    ids = ", ".join(parts.texts(cause, "evidence"))
    about += [f"evidence {escape(ids)}"] if ids else []
    lines.append("; ".join(about) + ".")
    if cause.get("explanation"):
        lines += ["", prose(cause["explanation"])]
    steps = parts.texts(cause, "fix")
    if steps:
        lines += ["", "### Fix", ""]
        lines += [f"{number}. {prose(step)}" for number, step in enumerate(steps, 1)]
    return lines


def _evidence(report: Report) -> list[str]:
    items = parts.rows(report, "evidence")
    lines = ["", "## Evidence"] if items else []
    for item in items:
        label = escape(one_line(item.get("id", "")))
        lines += ["", f"**{label}** {escape(parts.evidence_head(item))}", ""]
        lines += fenced(clean(item.get("quote", "")).strip("\n"))
    return lines


def _section(title: str, items: Iterable[str]) -> list[str]:
    lines = [f"- {prose(item)}" for item in items]
    return ["", f"## {title}", "", *lines] if lines else []
