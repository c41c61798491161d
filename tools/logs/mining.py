"""Mine log files of any form: plain text as bytes, which is fast, all else record by record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tools.domain import LogRecord
from tools.logs.canonical import canonical_text
from tools.logs.log_formats import HEAD, detect_form, is_stamped, open_log
from tools.logs.pattern_report import Example, Pattern, PatternReport
from tools.logs.patterns import PatternMiner
from tools.logs.sources import read_logs

_BLOCK = 1 << 20

# service, time of the first record ("" if none has one), name of the source → pattern ids
Known = Callable[[str, str, str], Collection[str]]


@dataclass(slots=True)
class Mined:
    """A report, what it is of, and what of the files could not be read."""

    report: PatternReport
    service: str = ""
    source: str = ""
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Watched:
    """What is noted of the records while they pass to the miner."""

    service: str = ""
    first: datetime | None = None
    problems: tuple[str, ...] = field(default=())


def mine_paths(
    paths: Sequence[str],
    *,
    service: str = "",
    max_patterns: int = 50,
    assignments: bool = False,
    baseline: PatternReport | None = None,
    known: Known | None = None,
) -> Mined:
    """Return the patterns of log files, their examples in canonical text.

    Plain text without times is read in blocks. With ``assignments`` every plain text is, and the
    ids are in input order whatever the form. Raises UsageError for a file that can't be read.
    """
    miner = PatternMiner(max_patterns, assignments=assignments)
    watched = _Watched(service)
    if all(path != "-" and _is_plain(path, stamped=assignments) for path in paths):
        for path in paths:
            with open_log(path) as file:
                miner.add_blocks(
                    iter(lambda file=file: file.read(_BLOCK), b""),  # type: ignore[misc]
                    source=Path(path).name,
                )
                if file.broken:
                    watched.problems = (*watched.problems, f"{path}: {file.broken}.")
    else:
        feed(miner, _records(paths, watched, in_order=not assignments))
    source = "+".join("stdin" if path == "-" else Path(path).name for path in paths)
    first = watched.first.isoformat() if watched.first else ""
    seen = known(watched.service, first, source) if known is not None else ()
    report = miner.report(baseline=baseline, known=seen)
    return Mined(canonical_report(report), watched.service, source, watched.problems)


def feed(miner: PatternMiner, records: Iterator[LogRecord]) -> None:
    """Give records to a miner with all that is known of them."""
    for record in records:
        miner.add(
            record.text,
            time=record.time,
            severity=record.severity,
            instance=record.instance,
            revision=record.revision,
            ref=record.ref,
        )


def canonical_report(report: PatternReport) -> PatternReport:
    """Return the report with every text redacted and escaped; ids and counts stay."""
    return replace(report, patterns=tuple(map(_canonical, report.patterns)))


def _canonical(pattern: Pattern) -> Pattern:
    return replace(
        pattern,
        template=canonical_text(pattern.template),
        variables=tuple(
            tuple((canonical_text(value), count) for value, count in values)
            for values in pattern.variables
        ),
        examples=tuple(Example(one.ref, canonical_text(one.text)) for one in pattern.examples),
    )


def _records(paths: Sequence[str], watched: _Watched, *, in_order: bool) -> Iterator[LogRecord]:
    source = read_logs(paths)
    for record in source if in_order else source.as_read():
        watched.service = watched.service or record.service
        if record.time is not None and (watched.first is None or record.time < watched.first):
            watched.first = record.time
        yield record
    watched.problems = source.report.problems()


def _is_plain(path: str, *, stamped: bool) -> bool:
    with open_log(path) as file:
        head = file.peek(HEAD)[:HEAD]
        return detect_form(head, path) == "plain" and (stamped or not is_stamped(head))
