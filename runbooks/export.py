"""A runbook as Markdown, HTML or JSON, for a wiki, a browser or another program."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from runbooks.rule import rule_data
from runbooks.runbook import Runbook, render_runbook

Form = Literal["markdown", "html", "json"]
FORMS: tuple[Form, ...] = ("markdown", "html", "json")

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_ITEM = re.compile(r"(?:[-*]|\d+\.) +(.*)")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em}"
    "pre{background:#f4f4f4;padding:.8em;overflow-x:auto}code{background:#f4f4f4}"
    "table{border-collapse:collapse}th,td{text-align:left;padding:.2em 1em .2em 0;"
    "vertical-align:top}"
)


def export_runbook(runbook: Runbook, form: Form, approval: Mapping[str, Any] | None = None) -> str:
    """Return the runbook in a form; ``approval`` says who approved this very content, and when."""
    if form == "json":
        return json.dumps(runbook_json(runbook, approval), indent=2, ensure_ascii=False) + "\n"
    if form == "html":
        return "\n".join(_page(runbook, approval)) + "\n"
    return _markdown(runbook, approval)


def runbook_json(runbook: Runbook, approval: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return everything that the file says, and its digest, as what ``json.dumps`` takes."""
    return {
        "id": runbook.id,
        "title": runbook.title,
        "severity": runbook.severity,
        "component": runbook.component,
        "platforms": list(runbook.platforms),
        "versions": runbook.versions,
        "fixed_in": runbook.fixed_in,
        "confidence": runbook.confidence,
        "kind": runbook.kind,
        "status": runbook.status,
        "reviewed": runbook.reviewed.isoformat(),
        "digest": runbook.digest,
        "approval": dict(approval) if approval else None,
        "rules": [rule_data(rule) for rule in runbook.rules],
        "blames": list(runbook.blames),
        "may_be": list(runbook.may_be),
        "excludes": list(runbook.excludes),
        "fix": list(runbook.fix),
        "sources": list(runbook.sources),
        "sections": dict(runbook.sections),
    }


def _facts(runbook: Runbook, approval: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    rows = [
        ("Id", runbook.id),
        ("Status", runbook.status),
        ("Severity", runbook.severity),
        ("Component", runbook.component),
        ("Platforms", ", ".join(runbook.platforms) or "any"),
        ("vLLM", runbook.versions or "any version"),
        ("Fixed in", runbook.fixed_in),
        ("Confidence", runbook.confidence),
        ("Reviewed", runbook.reviewed.isoformat()),
        ("Version", runbook.digest[:12]),
    ]
    if approval:
        rows.append(("Approved", f"by {approval['who']} at {str(approval['time'])[:16]}"))
    return [(name, value) for name, value in rows if value]


def _markdown(runbook: Runbook, approval: Mapping[str, Any] | None) -> str:
    """Return prose without front matter, as a wiki shows it."""
    lines = [f"# {_escaped(runbook.title)}", ""]
    lines += [f"- {name}: {_escaped(value)}" for name, value in _facts(runbook, approval)]
    if runbook.fix:
        lines += ["", "## In short", "", *(f"{n}. {step}" for n, step in enumerate(runbook.fix, 1))]
    for name, text in runbook.sections.items():
        lines += ["", f"## {name}", "", text]
    lines += ["", "## Sources", "", *(f"- {source}" for source in runbook.sources)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _page(runbook: Runbook, approval: Mapping[str, Any] | None) -> Iterator[str]:
    title = html.escape(runbook.title)
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>{title}</h1>"
    yield "<table>"
    for name, value in _facts(runbook, approval):
        yield f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>"
    yield "</table>"
    if runbook.fix:
        yield "<h2>In short</h2>"
        yield "<ol>" + "".join(f"<li>{_inline(step)}</li>" for step in runbook.fix) + "</ol>"
    for name, text in runbook.sections.items():
        yield f'<h2 id="{name.lower()}">{name}</h2>'
        yield from _blocks(text)
    yield "<h2>Sources</h2>"
    yield "<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in runbook.sources) + "</ul>"
    yield "</body></html>"


def _blocks(text: str) -> Iterator[str]:
    """Yield a section as HTML: fenced code, lists and paragraphs; all else is text."""
    paragraph: list[str] = []
    items: list[str] = []
    code: list[str] | None = None
    fence = ""
    for line in [*text.split("\n"), ""]:
        mark = line.lstrip()[:3]
        if code is not None:
            if mark == fence:
                yield f"<pre><code>{html.escape(chr(10).join(code))}</code></pre>"
                code = None
            else:
                code.append(line)
            continue
        item = _ITEM.fullmatch(line)
        if item is None and items:
            yield "<ul>" + "".join(f"<li>{_inline(one)}</li>" for one in items) + "</ul>"
            items = []
        if (mark in ("```", "~~~") or not line.strip() or item) and paragraph:
            yield f"<p>{_inline(' '.join(paragraph))}</p>"
            paragraph = []
        if mark in ("```", "~~~"):
            code, fence = [], mark
        elif item:
            items.append(item[1])
        elif line.strip():
            paragraph.append(line.strip())
    if code is not None:
        yield f"<pre><code>{html.escape(chr(10).join(code))}</code></pre>"


def _inline(text: str) -> str:
    """Return one paragraph escaped, with its code spans and its strong words."""
    out, at = [], 0
    for match in _INLINE.finditer(text):
        out.append(html.escape(text[at : match.start()]))
        tag, inner = ("code", match[1]) if match[1] is not None else ("strong", match[2])
        out.append(f"<{tag}>{html.escape(inner)}</{tag}>")
        at = match.end()
    return "".join([*out, html.escape(text[at:])])


def source_text(runbook: Runbook) -> str:
    """Return the runbook's own file, front matter and all."""
    return runbook.text or render_runbook(runbook)
