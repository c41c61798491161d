"""Evidence → the runbooks that it matches, ranked, with the words that matched.

``Matcher.add`` takes the blocks of a log as they stream by and keeps only what matched, so memory
does not grow with the log. ``Matcher.finish`` adds what the probes observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runbooks.catalog import Catalog
from runbooks.fix import fill_fix
from runbooks.pattern import Prefilter, compile_pattern
from runbooks.quote import Quote, Quoter, block_quotes, distinct, exception_quotes, whole
from runbooks.rule import SET, On, Rule, same
from runbooks.runbook import SEVERITIES, Runbook
from tools.domain import Block, Launch, Observation, Origin, Scalar

__all__ = ["Match", "Matcher", "Quote", "fill_fix"]

KEPT = 4  # hits kept of one rule: the first, and the newest ones
_PAST = datetime.min.replace(tzinfo=UTC)
_KINDS = {"cause": 0, "symptom": 1, "noise": 2}


@dataclass(frozen=True, slots=True)
class Match:
    """A runbook that the evidence matches; ``quotes`` are newest first.

    ``blamed`` are the options of the launch that are at fault, with their values, and
    ``config_quote`` is the record that printed them.
    """

    runbook: Runbook
    decisive: bool
    kind: str
    quotes: tuple[Quote, ...]
    captures: tuple[str, ...] = ()
    blamed: tuple[tuple[str, object], ...] = ()
    config_quote: Quote | None = None
    why: str = ""
    launch: Launch | None = None
    facts: tuple[tuple[str, Scalar], ...] = ()


@dataclass(slots=True)
class _Hits:
    first: tuple[Quote, ...] = ()
    newest: list[tuple[tuple[Quote, ...], tuple[str, ...]]] = field(default_factory=list)

    def copy(self) -> _Hits:
        return _Hits(self.first, list(self.newest))

    def add(self, quotes: tuple[Quote, ...], captures: tuple[str, ...]) -> None:
        self.newest.append((quotes, captures))
        # Clocks can be out of order, so the newest is told by its time where it has one.
        self.newest.sort(key=lambda hit: hit[0][0].time or _PAST, reverse=True)
        del self.newest[KEPT - 1 :]
        self.first = self.first or quotes


@dataclass(frozen=True, slots=True)
class _Held:
    """What made a rule hold."""

    quotes: tuple[Quote, ...] = ()
    captures: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    facts: tuple[tuple[str, Scalar], ...] = ()


class Matcher:
    """Match a log and the observations of the probes against a catalog.

    ``platform`` is the kind of the target, such as ``cloud-run``; "" when it is not known.
    """

    def __init__(self, catalog: Catalog, *, platform: str = "") -> None:
        self._runbooks = catalog.in_force
        self._platform = platform
        self._patterns: dict[On, list[str]] = {}
        for runbook in self._runbooks:
            for rule in runbook.rules:
                for leaf in rule.leaves():
                    if leaf.line:
                        self._patterns.setdefault(leaf.on, []).append(leaf.line)
        self._patterns = {on: list(dict.fromkeys(found)) for on, found in self._patterns.items()}
        self._filters = {on: Prefilter(found) for on, found in self._patterns.items()}
        self._hits: dict[tuple[On, str], _Hits] = {}

    def add(self, block: Block) -> None:
        """Take one block of the log, in any order of time."""
        origin = block.first.origin
        if origin is Origin.PROCESS:
            self._search("line", block.text, block_quotes(block))
            for note in block.exceptions:
                records = tuple(block.records[index] for index in note.lines)
                self._search(
                    "exception", f"{note.type}: {note.message}", exception_quotes(block, records)
                )
        elif origin is Origin.PLATFORM:
            self._search("platform", block.text, block_quotes(block))
        elif origin is Origin.CONTROL_PLANE:
            self._search("control_plane", block.text, block_quotes(block))

    def finish(
        self, observations: Sequence[Observation], launch: Launch | None
    ) -> tuple[Match, ...]:
        """Return the matches: decisive first, then the more specific, the graver, the newer."""
        seen = tuple(item for item in observations if item.origin is not Origin.CALLER)
        kept = self._hits
        self._hits = {key: hits.copy() for key, hits in kept.items()}
        try:
            for item in seen:
                if item.origin is Origin.CONTROL_PLANE:
                    self._search("control_plane", item.quote, whole(item))
                elif item.origin is Origin.PLATFORM:
                    self._search("platform", item.quote, whole(item))
            found = [
                match
                for runbook in self._runbooks
                if (match := self._match(runbook, seen, launch)) is not None
            ]
        finally:
            self._hits = kept  # so that more blocks may follow, and finish be called again
        return tuple(sorted(_displace(found), key=_rank))

    def _search(self, on: On, text: str, quotes: Quoter) -> None:
        prefilter = self._filters.get(on)
        if prefilter is None:
            return
        for index in prefilter.candidates(text):
            pattern = self._patterns[on][index]
            found = compile_pattern(pattern).search(text)
            if found is None:
                continue
            where = quotes(text, found.start(), found.end())
            if where:
                captures = tuple(group or "" for group in found.groups())
                self._hits.setdefault((on, pattern), _Hits()).add(where, captures)

    def _match(
        self, runbook: Runbook, seen: tuple[Observation, ...], launch: Launch | None
    ) -> Match | None:
        held = [
            (rule, found)
            for rule in runbook.rules
            if (found := self._holds(rule, seen, launch)) is not None
        ]
        if not held:
            return None
        held.sort(key=lambda item: not item[0].decisive)
        doubt = _doubt(runbook, self._platform, launch)
        blamed = _blamed(runbook, launch)
        options = (*(name for name, _ in blamed), *(o for _, found in held for o in found.config))
        return Match(
            runbook=runbook,
            decisive=held[0][0].decisive and not doubt,
            kind=runbook.kind,
            quotes=distinct(quote for _, found in held for quote in found.quotes),
            captures=next((found.captures for _, found in held if found.captures), ()),
            blamed=blamed,
            config_quote=_config_quote(launch) if options else None,
            why=_why(held[0], blamed, doubt),
            launch=launch,
            facts=tuple(
                dict(
                    [(name, value) for item in seen for name, value in item.facts.items()]
                    + [fact for _, found in reversed(held) for fact in found.facts]
                ).items()
            ),
        )

    def _holds(
        self, rule: Rule, seen: tuple[Observation, ...], launch: Launch | None
    ) -> _Held | None:
        parts: list[_Held] = []
        if rule.line:
            hits = self._hits.get((rule.on, rule.line))
            if hits is None:
                return None
            quotes = [quote for found, _ in hits.newest for quote in found]
            parts.append(_Held((*quotes, *hits.first), captures=hits.newest[0][1]))
        if rule.fact:
            held = _fact(rule, seen)
            if held is None:
                return None
            parts.append(held)
        if rule.config:
            if launch is None or not all(
                name in launch.args and (wanted == SET or same(wanted, launch.args[name]))
                for name, wanted in rule.config.items()
            ):
                return None
            quote = _config_quote(launch)
            parts.append(_Held((quote,) if quote else (), config=tuple(rule.config)))
        for part in rule.all:
            inner = self._holds(part, seen, launch)
            if inner is None:
                return None
            parts.append(inner)
        return _Held(
            quotes=distinct(quote for part in parts for quote in part.quotes),
            captures=next((part.captures for part in parts if part.captures), ()),
            config=tuple(option for part in parts for option in part.config),
            facts=tuple(fact for part in parts for fact in part.facts),
        )


def _fact(rule: Rule, seen: tuple[Observation, ...]) -> _Held | None:
    for item in reversed(seen):
        value = item.facts.get(rule.fact)
        if value is not None and rule.accepts(value):
            quote = Quote(item.ref, item.time, item.quote, item.source, item.origin)
            return _Held((quote,), facts=((rule.fact, value),))
    return None


def _config_quote(launch: Launch | None) -> Quote | None:
    if launch is None or launch.args_record is None:
        return None
    record = launch.args_record
    return Quote(record.ref, record.time, record.text, "logging", record.origin)


def _blamed(runbook: Runbook, launch: Launch | None) -> tuple[tuple[str, object], ...]:
    if launch is None:
        return ()
    return tuple((name, launch.args[name]) for name in runbook.blames if name in launch.args)


def _doubt(runbook: Runbook, platform: str, launch: Launch | None) -> str:
    """Say why a match can't prove its cause here: the wrong platform or version of vLLM."""
    if platform and runbook.platforms and platform not in runbook.platforms:
        return f"the runbook is about {', '.join(runbook.platforms)}, not {platform}"
    version = launch.version if launch else ""
    if version and runbook.versions:
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            known = Version(version)
        except InvalidVersion:
            return ""  # a build of one's own; its version says nothing
        if not SpecifierSet(runbook.versions).contains(known, prereleases=True):
            return f"vLLM {version} is outside the runbook's range {runbook.versions}"
    return ""


def _why(held: tuple[Rule, _Held], blamed: tuple[tuple[str, object], ...], doubt: str) -> str:
    rule, found = held
    reasons = [
        f"a {leaf.on.replace('_', ' ')} text matches /{leaf.line}/"
        for leaf in rule.leaves()
        if leaf.line
    ]
    reasons += [f"{name} is {value}" for name, value in found.facts]
    reasons += [f"the launch set {name}" for name in found.config]
    reasons += [f"{name}={value!r} stands in the launch" for name, value in blamed]
    return "; ".join(dict.fromkeys(reasons)) + (f"; but {doubt}" if doubt else "")


def _displace(found: list[Match]) -> list[Match]:
    """Drop what a more specific match displaces, unless only the general one is decisive."""
    by_id = {match.runbook.id: match for match in found}
    gone = {
        other
        for match in found
        for other in match.runbook.excludes
        if other != match.runbook.id
        and other in by_id
        and (match.decisive or not by_id[other].decisive)
    }
    return [match for match in found if match.runbook.id not in gone]


def _rank(match: Match) -> tuple[int, bool, bool, int, float, str]:
    newest = max((quote.time or _PAST for quote in match.quotes), default=_PAST)
    return (
        _KINDS[match.kind],
        not match.decisive,
        not match.runbook.excludes,
        SEVERITIES.index(match.runbook.severity),
        -(newest - _PAST).total_seconds(),
        match.runbook.id,
    )
