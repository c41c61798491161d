"""Log entries, patterns and root causes as text; everything foreign is cleaned on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tui.plain import clean, one_line

if TYPE_CHECKING:
    from runbooks.causes import Causes, RootCause
    from tools.domain import LogRecord
    from tools.logs.pattern_report import Pattern, PatternReport

MAX_TEMPLATE = 200


def record_line(record: LogRecord) -> str:
    """Return an entry as text: time, severity, where, and what it says."""
    time = record.time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if record.time else record.ref
    where = f"{record.stream} " if record.stream != "unknown" else ""
    head = f"{one_line(time)} {record.severity.name:<8} {where}"
    first, *rest = clean(record.text).split("\n")
    return "\n".join([head + first, *(f"    {line}" for line in rest)])


def record_json(record: LogRecord) -> dict[str, Any]:
    """Return an entry as what ``json.dumps`` takes."""
    return {
        "ref": record.ref,
        "time": record.time.isoformat() if record.time else None,
        "severity": record.severity.name,
        "severity_inferred": record.severity_inferred,
        "stream": record.stream,
        "origin": record.origin.value,
        "resource": record.resource,
        "service": record.service,
        "revision": record.revision,
        "instance": record.instance,
        "status": record.status,
        "method": record.method,
        "text": record.text,
    }


def pattern_lines(report: PatternReport) -> Iterator[str]:
    """Yield a report on patterns, the most telling first; the counts add up to the total."""
    yield f"{'count':>9}  {'severity':<8}  {'id':<12}  what"
    for pattern in report.patterns:
        yield f"{pattern.count:>9,}  {_level(pattern):<8}  {pattern.id}  " + one_line(
            pattern.template, MAX_TEMPLATE
        )
        told = [part for part in _about(pattern) if part]
        if told:
            yield " " * 35 + "; ".join(told)
    yield f"{report.other:>9,}  {'':<8}  {'other':<12}  {report.other_patterns:,} further patterns"
    yield f"{report.total:>9,}  lines"


def _level(pattern: Pattern) -> str:
    return pattern.severity.name if pattern.severity else "-"


def _about(pattern: Pattern) -> Iterator[str]:
    yield "novel" if pattern.novel else ""
    yield f"lift {pattern.lift:.1f}" if pattern.lift is not None and pattern.lift >= 2 else ""
    yield f"burst {pattern.burst:.0f}" if pattern.burst >= 2 else ""
    yield f"{pattern.instances} instances" if pattern.instances > 1 else ""
    yield f"{pattern.revisions} revisions" if pattern.revisions > 1 else ""
    if pattern.first and pattern.last:
        yield f"{pattern.first:%Y-%m-%d %H:%M:%S} to {pattern.last:%H:%M:%S}"
    if pattern.examples:
        yield f"e.g. {one_line(pattern.examples[0].ref)}"


def root_cause_lines(found: Causes) -> Iterator[str]:
    """Yield the root causes: exception, reasons, configuration, what was skipped."""
    if not found.causes:
        yield f"Nothing failed in {found.entries:,} entries: no exception ended a process."
        return
    for number, cause in enumerate(found.causes):
        if number:
            yield ""
        yield from _cause_lines(cause)


def _cause_lines(cause: RootCause) -> Iterator[str]:
    yield f"Exception: {one_line(cause.type)}"
    yield f"  {one_line(cause.message)}"
    place = ", ".join(one_line(part) for part in (cause.process, cause.time, cause.ref) if part)
    yield f"  {place}; fingerprint {cause.fingerprint}"
    if cause.reasons:
        yield "Reasons:"
        yield from (f"  {one_line(reason)}" for reason in cause.reasons)
    if cause.frames:
        yield "Where, innermost first:"
        yield from (f"  {one_line(frame)}" for frame in cause.frames)
    yield "Configuration at fault:"
    if cause.blamed:
        for option, value, why in cause.blamed:
            yield f"  {one_line(option)} = {one_line(repr(value))} ({one_line(why)})"
    else:
        yield "  none that the exception or a runbook names"
    if cause.started:
        yield f"Started as: {one_line(cause.started)}"
    if cause.without_effect:
        names = one_line(", ".join(cause.without_effect))
        yield f"Had no effect (vLLM does not know them): {names}"
    yield "Skipped:"
    yield from (f"  {one_line(text)}" for text in cause.skipped or ("nothing",))
    if cause.runbook:
        yield f"Runbook: {one_line(cause.runbook)} ({one_line(cause.title)})"
    else:
        yield "Runbook: none knows it; `gemma-sre runbook draft --logs FILE` drafts one"
