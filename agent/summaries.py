"""What of a tool's result enters the window: counts, top patterns, the decisive lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.domain import LogRecord, Severity
from tools.tool import ToolResult

# Characters of one result in the window; the whole stays in state.db and can be read in slices.
RESULT_LIMIT = 1200
SLICE = 1000
_ROW, _ROWS, _LINE, _LINES, _PATTERNS = 150, 8, 200, 4, 5
_MINED = 12  # fewer lines than this are shown as they are
_BAD = ("error", "exception", "failed", "fatal", "killed", "exit(", "out of memory", "refused")


def summarize(result: ToolResult, content: str, reference: str) -> str:
    """Return a result as the model reads it, with the reference under which the whole lies."""
    parts = [result.summary]
    if result.records:
        parts += _of_records(result.records)
    elif result.data is not None:
        parts += _of_data(result.data)
    text = "\n".join(dict.fromkeys(part for part in parts if part))
    if len(text) > RESULT_LIMIT:
        text = text[: RESULT_LIMIT - 2] + " …"
    shown = sum(map(len, parts))
    more = f"\n[whole: read_output {reference}, {len(content)} characters]"
    return text + (more if len(content) > shown else "")


def slice_of(content: str, offset: int) -> str:
    """Return a slice of a whole output, and where the next one begins."""
    if not content:
        return "There is no output under that reference."
    start = max(0, min(offset, len(content) - 1))
    end = min(len(content), start + SLICE)
    rest = f"next offset {end}" if end < len(content) else "the end"
    return f"[{start} to {end} of {len(content)}; {rest}]\n{content[start:end]}"


def _of_records(records: Sequence[LogRecord]) -> Iterable[str]:
    if len(records) < _MINED:
        yield from (_line(record.text, _LINE) for record in records)
        return
    from tools.logs.patterns import PatternMiner  # numpy is slow to import

    miner = PatternMiner(max_patterns=_PATTERNS)
    for record in records:
        miner.add(record.text, time=record.time, severity=record.severity, ref=record.ref)
    report = miner.report()
    yield "Most telling patterns:"
    yield from (f"{p.count}x {_line(p.template, _LINE)}" for p in report.patterns)
    if report.other:
        yield f"{report.other}x other"
    levels = Counter(r.severity.name for r in records if r.severity >= Severity.WARNING)
    if levels:
        yield "Severities: " + ", ".join(f"{name} {count}" for name, count in levels.items())
    decisive = [r.text for r in records if any(word in r.text.lower() for word in _BAD)]
    if decisive:
        yield "Decisive lines, oldest first:"
        yield from (_line(text, _LINE) for text in list(dict.fromkeys(decisive))[:_LINES])


def _of_data(data: Any) -> Iterable[str]:
    if isinstance(data, Mapping):
        yield from (_line(f"{key}: {_short(value)}", _ROW) for key, value in data.items())
    elif isinstance(data, Sequence) and not isinstance(data, str):
        for row in list(data)[:_ROWS]:
            pairs = row.items() if isinstance(row, Mapping) else [("", row)]
            told = ", ".join(f"{k}={_short(v)}" if k else _short(v) for k, v in pairs if v)
            yield _line(told, _ROW)
        if len(data) > _ROWS:
            yield f"and {len(data) - _ROWS} more"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _line(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 2] + " …"
