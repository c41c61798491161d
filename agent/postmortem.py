"""An incident as a post-mortem in Markdown: only what is recorded, and what is not, said so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# ASCII punctuation with a meaning in the middle of a line (CommonMark 0.31.2, section 2.4).
# A colon or an at-sign only where GitHub would make a link of it.
_SPECIAL = re.compile(r"([\\*_\[\]<>&|~!#$`]|:(?=//)|(?<=\w)@(?=\w))")
_CODE = re.compile(r"(`[^`\n]+`)")
_KINDS = {
    "opened": "Opened",
    "seen": "Seen again",
    "note": "Note",
    "action": "Action",
    "resolved": "Resolved",
}


def render_postmortem(incident: Mapping[str, Any]) -> str:
    """Return the post-mortem of an incident as ``Incidents.get`` gives it, ending in a newline."""
    report: Mapping[str, Any] = incident.get("report") or {}
    lines = [f"# Post-mortem: {_text(incident['title'])}", "", *_facts(incident, report)]
    lines += _section("Impact", [_text(report["impact"])] if report.get("impact") else [])
    lines += _section("Timeline (UTC)", _timeline(incident))
    for cause in report.get("causes", []):
        lines += _cause(cause)
    lines += _section("Resolution", [_prose(incident.get("resolution") or "Not resolved yet.")])
    lines += _section(
        "Changes since the last good revision", _bullets(map(_change, _of(report, "changes")))
    )
    lines += _section(
        "Other hypotheses, not proven",
        _bullets(
            f"{h['title']}: {h['why']} (against: {h['against']})" for h in _of(report, "hypotheses")
        ),
    )
    lines += _section("Evidence", _evidence(report))
    lines += _section("What could not be seen", _bullets(report.get("gaps", [])))
    lines += _section("Runbooks as they were shown", _runbooks(incident))
    return "\n".join(lines).rstrip("\n") + "\n"


def _facts(incident: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    target = report.get("target") or {}
    place = "/".join(p for p in (target.get("project"), target.get("location")) if p)
    rows = {
        "Incident": incident["id"],
        "Status": incident["status"],
        "Service": f"{incident.get('service') or '-'}" + (f" ({place})" if place else ""),
        "Verdict": incident.get("verdict") or "-",
        "Opened": _time(incident["opened"]),
        "Last seen": f"{_time(incident['last_seen'])}, diagnosed {incident['count']} times",
        "Fingerprint": incident["fingerprint"],
    }
    if target.get("simulated"):
        rows["Simulated"] = str(target["simulated"])
    table = [f"| {name} | {_text(value)} |" for name, value in rows.items()]
    return ["| | |", "|---|---|", *table]


def _timeline(incident: Mapping[str, Any]) -> list[str]:
    rows = [
        (change["time"], "Change", _change(change), "")
        for change in _of(incident.get("report") or {}, "changes")
        if change.get("time")
    ]
    for event in incident.get("timeline", []):
        kind = _KINDS.get(event["kind"], event["kind"])
        rows.append((event["time"], kind, event["text"] or "", event["author"] or ""))
    if not rows:
        return []
    head = ["| time | what | | who |", "|---|---|---|---|"]
    return head + [
        f"| {_time(time)} | {kind} | {_text(text)} | {_text(who)} |"
        for time, kind, text, who in sorted(rows, key=lambda row: _time(row[0]))
    ]


def _cause(cause: Mapping[str, Any]) -> list[str]:
    cited = ", ".join(cause.get("evidence", [])) or "none"
    lines = [
        "",
        f"## Cause: {_text(cause['title'])} ({_text(cause.get('confidence', 'likely'))})",
        "",
        f"Evidence: {_text(cited)}. Runbook: {_text(cause.get('runbook') or 'none')}.",
    ]
    if cause.get("explanation"):
        lines += ["", _prose(cause["explanation"])]
    if steps := cause.get("fix"):
        lines += ["", "Proposed fix:", ""]
        lines += [f"{number}. {_prose(step)}" for number, step in enumerate(steps, 1)]
    return lines


def _evidence(report: Mapping[str, Any]) -> list[str]:
    cited = {ref for cause in report.get("causes", []) for ref in cause.get("evidence", [])}
    lines: list[str] = []
    for item in _of(report, "evidence"):
        if item["id"] in cited or not cited:
            head = f"**{_text(item['id'])}** {_text(item['source'])}, {_text(item['ref'])}"
            when = f", {_time(item['time'])}" if item.get("time") else ""
            lines += [f"{head}{when}", "", *_fenced(str(item["quote"])), ""]
    return lines


def _runbooks(incident: Mapping[str, Any]) -> list[str]:
    return [
        f"- {_text(row['runbook'])}, content {row['digest'][:12]}, on {_time(row['shown'])}"
        for row in incident.get("runbooks", [])
    ]


def _change(change: Mapping[str, Any]) -> str:
    return f"{change['what']}: {change['from']} → {change['to']}"


def _of(report: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return list(report.get(name) or [])


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = list(lines)
    return ["", f"## {title}", "", *body] if body else []


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {_text(text)}" for text in texts]


def _time(text: str) -> str:
    return str(text)[:19].replace("T", " ")


def _text(value: object) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _prose(text: str) -> str:
    # A person's or a runbook's words: code spans are meant, other markup is not.
    pieces = _CODE.split(" ".join(text.split()))
    return "".join(p if _CODE.fullmatch(p) else _SPECIAL.sub(r"\\\1", p) for p in pieces)


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.strip("\n").split("\n"), fence]
