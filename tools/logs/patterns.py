"""Mine patterns from up to millions of log lines: templates, counts, and which matter most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from tools.domain import LogRecord, Severity
from tools.errors import UsageError
from tools.logs.masking import MAX_CHARS, template_id, template_of, template_regex
from tools.logs.pattern_chunk import Chunk
from tools.logs.pattern_keys import OVERFLOW, Ids, TemplateIndex
from tools.logs.pattern_merge import merge_templates
from tools.logs.pattern_report import Example, Pattern, PatternReport, top_values
from tools.logs.pattern_tally import Tally, burst, distinct
from tools.logs.severity import infer_severity

__all__ = [
    "Pattern",
    "PatternMiner",
    "PatternReport",
    "mine_file",
    "mine_lines",
    "template_id",
    "template_of",
    "template_regex",
]

OTHER = "other"
EXAMPLES = 3
_CHUNK = 4096  # lines: what is made of them at once fits the caches of a core
_THIN = 16  # of how many chunks one gives samples of templates that have _ENOUGH lines
_ENOUGH = 16
_SAMPLED = 64_000_000  # characters of samples held, in all; past it one line of each template
_BLOCK = 1 << 20  # bytes of a file read at once


@dataclass(slots=True)
class _Surroundings:
    """What was given with a line that waits for its chunk to fill."""

    ref: str
    time: datetime | None
    severity: Severity
    instance: str
    revision: str


class PatternMiner:
    """Group lines by template; lines are added one by one or in bulk, then reported.

    Grouping does not depend on the order of the lines as long as there are no more than
    ``pattern_keys.MAX_TEMPLATES`` distinct templates; past that, lines of new ones count as other.
    With ``assignments``, the report has the pattern id of every line in input order.
    """

    def __init__(self, max_patterns: int = 50, *, assignments: bool = False) -> None:
        if max_patterns < 1:
            raise UsageError(f"max_patterns must be at least 1, not {max_patterns}.")
        self.max_patterns = max_patterns
        self.assignments = assignments
        self.total = 0
        self._index = TemplateIndex()
        self._counts = np.zeros(1, dtype=np.int64)
        self._tallies: dict[int, Tally] = {}
        self._assigned: list[Ids] = []
        self._chunks = 0
        self._room = _SAMPLED
        self._texts: list[str] = []
        self._waiting: list[_Surroundings] = []

    def add(
        self,
        text: str,
        *,
        time: datetime | None = None,
        severity: Severity = Severity.DEFAULT,
        instance: str = "",
        revision: str = "",
        ref: str = "",
    ) -> None:
        """Add one line with what is known of it."""
        self._texts.append(text[:MAX_CHARS])
        self._waiting.append(_Surroundings(ref, time, severity, instance, revision))
        if len(self._texts) >= _CHUNK:
            self._flush()

    def add_lines(self, lines: Iterable[str], *, source: str = "line") -> None:
        """Add many lines of which nothing else is known; ``source:N`` refers to the N-th."""
        self._flush()
        iterator = iter(lines)
        number = 1
        while texts := list(islice(iterator, _CHUNK)):
            self._add_chunk(Chunk.from_texts(texts), source, number)
            number += len(texts)

    def add_blocks(self, blocks: Iterable[bytes], *, source: str = "line") -> None:
        """Add the lines of a text file's bytes, read in blocks of any size."""
        self._flush()
        number = 1
        for blob in _whole_lines(blocks):
            chunk = Chunk.from_bytes(blob)
            self._add_chunk(chunk, source, number)
            number += chunk.count

    def report(
        self, *, baseline: PatternReport | None = None, known: Collection[str] = ()
    ) -> PatternReport:
        """Return the patterns by score, and the count of what is not among them.

        ``baseline`` is the report on an earlier window of the same length; ``known`` are the
        pattern ids seen before: a pattern of which no member is known is novel.
        """
        self._flush()
        counts = self._counts.tolist()
        templates = self._index.templates
        seen = range(1, len(templates))
        names = merge_templates(templates[1:], self._index.general, self._index.amounts)
        groups: dict[str, list[int]] = defaultdict(list)
        for number in seen:
            groups[names[templates[number]]].append(number)
        ids = {number: template_id(templates[number]) for number in seen}
        known = frozenset(known)
        first = min((t.first for t in self._tallies.values() if t.first), default=None)
        last = max((t.last for t in self._tallies.values() if t.last), default=None)
        drafts = [
            self._draft(template, numbers, ids, counts, baseline, known, first, last)
            for template, numbers in groups.items()
        ]
        drafts.sort(key=lambda pattern: (-pattern.score, -pattern.count, pattern.template))
        patterns = tuple(
            self._finish(draft, groups[draft.template]) for draft in drafts[: self.max_patterns]
        )
        return PatternReport(
            patterns=patterns,
            other=self.total - sum(pattern.count for pattern in patterns),
            total=self.total,
            other_patterns=len(drafts) - len(patterns),
            first=first,
            last=last,
            counts={ids[number]: counts[number] for number in seen},
            assignments=self._assignments(names),
        )

    def _flush(self) -> None:
        if not self._texts:
            return
        texts, waiting = self._texts, self._waiting
        self._texts, self._waiting = [], []
        ids = self._assign(Chunk.from_texts(texts))
        for number, text, given in zip(ids.tolist(), texts, waiting, strict=True):
            if number != OVERFLOW:
                tally = self._tallies.get(number)
                if tally is None:
                    tally = self._tallies[number] = Tally()
                self._room -= tally.offer(given.ref, text, room=self._room > 0)
                tally.note(given.time, given.severity, given.instance, given.revision)

    def _add_chunk(self, chunk: Chunk, source: str, number: int) -> None:
        whole = self.total < _CHUNK  # at first every line may be a sample, later one a chunk
        ids = self._assign(chunk)
        if whole:
            lines: Iterable[int] = range(chunk.count)
            numbers = ids.tolist()
        else:
            self._chunks += 1
            numbers, lines = self._choose(ids, everything=self._chunks % _THIN == 0)
        for template, line in zip(numbers, lines, strict=True):
            if template != OVERFLOW:
                tally = self._tallies.get(template)
                if tally is None:
                    tally = self._tallies[template] = Tally()
                text = chunk.text(line)
                self._room -= tally.offer(f"{source}:{number + line}", text, room=self._room > 0)

    def _choose(self, ids: Ids, *, everything: bool) -> tuple[list[int], list[int]]:
        """Return the templates of a chunk to sample, and a line of each."""
        line = np.full(len(self._counts), -1, dtype=np.int64)
        line[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)
        present = line >= 0
        if not everything:
            present &= self._counts < _ENOUGH
        numbers = np.flatnonzero(present)
        return numbers.tolist(), line[numbers].tolist()

    def _assign(self, chunk: Chunk) -> Ids:
        ids = self._index.assign(chunk)
        counts = np.bincount(ids, minlength=len(self._index.templates))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self.total += chunk.count
        if self.assignments:
            self._assigned.append(ids)
        return ids

    def _draft(
        self,
        template: str,
        numbers: Sequence[int],
        ids: dict[int, str],
        counts: Sequence[int],
        baseline: PatternReport | None,
        known: frozenset[str],
        first: datetime | None,
        last: datetime | None,
    ) -> Pattern:
        """Return the pattern with all that its rank needs."""
        tallies = [self._tallies[number] for number in numbers]
        count = sum(counts[number] for number in numbers)
        members = tuple(sorted(ids[number] for number in numbers))
        identity = template_id(template)
        severity = max(tally.severity for tally in tallies)
        if severity == Severity.DEFAULT:
            severity = max(infer_severity(tally.texts[0]) for tally in tallies)
        lift = None
        if baseline is not None:
            before = sum(baseline.counts.get(member, 0) for member in members)
            lift = (count + 1) / (before + 1)
        novel = identity not in known and known.isdisjoint(members)
        bursting = burst(tallies, first, last)
        instances = distinct(tally.instances for tally in tallies)
        revisions = distinct(tally.revisions for tally in tallies)
        return Pattern(
            id=identity,
            template=template,
            count=count,
            first=min((t.first for t in tallies if t.first), default=None),
            last=max((t.last for t in tallies if t.last), default=None),
            severity=severity,
            instances=instances,
            revisions=revisions,
            burst=bursting,
            lift=lift,
            novel=novel,
            score=score(severity, novel, lift, bursting, instances, revisions, count),
            members=members,
        )

    def _finish(self, draft: Pattern, numbers: Sequence[int]) -> Pattern:
        """Return the pattern with its examples and its variables' values."""
        tallies = [self._tallies[number] for number in numbers]
        refs = [ref for tally in tallies for ref in tally.refs]
        texts = [text for tally in tallies for text in tally.texts]
        variables, sampled = top_values(draft.template, texts)
        # The first, the last and one between: refs are in reading order within a template
        chosen = sorted({0, len(refs) // 2, len(refs) - 1})[:EXAMPLES]
        return Pattern(
            **{name: getattr(draft, name) for name in _DRAFTED},
            variables=variables,
            sampled=sampled,
            examples=tuple(Example(refs[at], texts[at]) for at in chosen),
        )

    def _assignments(self, names: dict[str, str]) -> tuple[str, ...]:
        if not self._assigned:
            return ()
        ids = [OTHER, *(template_id(names[name]) for name in self._index.templates[1:])]
        return tuple(map(ids.__getitem__, np.concatenate(self._assigned).tolist()))


_DRAFTED = (
    *("id", "template", "count", "first", "last", "severity", "instances", "revisions"),
    *("burst", "lift", "novel", "score", "members"),
)


def score(
    severity: Severity,
    novel: bool,
    lift: float | None,
    bursting: float,
    instances: int,
    revisions: int,
    count: int,
) -> float:
    """Return a pattern's rank: one point for each step of severity, up to 8, and

    2 for a novel one, up to 2 for lift (log2, a quarter each), up to 1.5 for a burst (log2, a
    quarter each), up to 1 each for instances and revisions (log10), and up to 0.5 for its count
    (log10, a twentieth each), which only breaks ties. The weights are a judgement: a novel
    warning stands level with a well-known error of the next step and a half.
    """
    points = severity / 100 + 2.0 * novel
    if lift is not None:
        points += min(2.0, max(0.0, math.log2(lift) / 4))
    points += min(1.5, math.log2(max(1.0, bursting)) / 4)
    points += min(1.0, math.log10(max(1, instances))) + min(1.0, math.log10(max(1, revisions)))
    return points + min(0.5, math.log10(max(1, count)) / 20)


def mine_file(
    records: Iterable[LogRecord],
    *,
    max_patterns: int = 50,
    assignments: bool = False,
    baseline: PatternReport | None = None,
    known: Collection[str] = (),
) -> PatternReport:
    """Return the patterns of log records, read one by one, so that memory does not grow."""
    miner = PatternMiner(max_patterns, assignments=assignments)
    for record in records:
        miner.add(
            record.text,
            time=record.time,
            severity=record.severity,
            instance=record.instance,
            revision=record.revision,
            ref=record.ref,
        )
    return miner.report(baseline=baseline, known=known)


def mine_lines(
    path: str | Path,
    *,
    max_patterns: int = 50,
    assignments: bool = False,
    baseline: PatternReport | None = None,
    known: Collection[str] = (),
) -> PatternReport:
    """Return the patterns of a plain text file, a line each, as they are: nothing is redacted.

    Raises UsageError where the file can't be read.
    """
    path = Path(path)
    miner = PatternMiner(max_patterns, assignments=assignments)
    try:
        with path.open("rb") as file:
            miner.add_blocks(iter(lambda: file.read(_BLOCK), b""), source=path.name)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror or error}.", fix="Name a readable text file."
        ) from error
    return miner.report(baseline=baseline, known=known)


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks cut at line feeds, so that no line is in two."""
    rest: list[bytes] = []
    kept = 0
    for block in blocks:
        cut = block.rfind(b"\n")
        if cut < 0:
            # Of a line longer than any that is looked at, the rest need not be held
            if kept < _BLOCK:
                rest.append(block)
                kept += len(block)
            continue
        yield b"".join((*rest, block[:cut]))
        rest = [block[cut + 1 :]]
        kept = len(rest[0])
    if kept:
        yield b"".join(rest)
