"""Which words of the evidence a match rests on: one record each, verbatim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from tools.domain import Block, LogRecord, Observation, Origin

MAX_LINES = 6  # quoted of one exception
MAX_QUOTE = 2_000  # characters; a longer record is cut to the lines that matched


@dataclass(frozen=True, slots=True)
class Quote:
    """Words that matched, verbatim, and where they stand."""

    ref: str
    time: datetime | None
    text: str
    source: str  # logging for records, else the source of the observation
    origin: Origin
    block: Block | None = None


Quoter = Callable[[str, int, int], tuple[Quote, ...]]  # text, start and end of a match → quotes


def whole(item: Observation) -> Quoter:
    """Quote all of an observation: it is short, and has one reference."""
    quote = Quote(item.ref, item.time, item.quote, item.source, item.origin)

    def quotes(_text: str, _start: int, _end: int) -> tuple[Quote, ...]:
        return (quote,)

    return quotes


def _quote(record: LogRecord, text: str, block: Block) -> Quote:
    return Quote(record.ref, record.time, text, "logging", record.origin, block)


def exception_quotes(block: Block, records: tuple[LogRecord, ...]) -> Quoter:
    """Quote the records of an exception whose lines a match covers, the first one first."""

    def quotes(text: str, start: int, end: int) -> tuple[Quote, ...]:
        first = text.count("\n", 0, start)
        last = text.count("\n", 0, end)
        last = min(last, first + MAX_LINES - 1)
        lines = text.split("\n")[first : last + 1]
        found = [
            _quote(record, _cut(record.text, line), block)
            for record, line in zip(_spread(records, first, last), lines, strict=False)
            if record.origin is not Origin.CALLER
        ]
        return distinct(found)

    return quotes


def _spread(records: tuple[LogRecord, ...], first: int, last: int) -> list[LogRecord]:
    # One record may carry several lines of the message; then the last known one holds the rest.
    return [records[min(index, len(records) - 1)] for index in range(first, last + 1)]


def block_quotes(block: Block) -> Quoter:
    """Quote the record of a block that holds the line where a match begins."""

    def quotes(text: str, start: int, _end: int) -> tuple[Quote, ...]:
        begin = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", start)
        line = text[begin : stop if stop >= 0 else len(text)].strip()
        index = text.count("\n", 0, start)
        near = block.records[index : index + 1]
        record = next(
            (item for item in (*near, *block.records) if line and line in item.text), None
        )
        record = record or (near[0] if near else block.first)
        if record.origin is Origin.CALLER:
            return ()
        return (_quote(record, _cut(record.text, line), block),)

    return quotes


def _cut(text: str, line: str) -> str:
    """Return the record's text, or of a long one the part around the line that matched."""
    if len(text) <= MAX_QUOTE:
        return text
    at = max(text.find(line.strip()[:200]), 0)
    begin = text.rfind("\n", 0, at) + 1
    return text[begin : begin + MAX_QUOTE]


def distinct(quotes: Iterable[Quote]) -> tuple[Quote, ...]:
    """Return the quotes in their order, each once."""
    kept: dict[tuple[str, str], Quote] = {}
    for quote in quotes:
        kept.setdefault((quote.ref, quote.text), quote)
    return tuple(kept.values())
