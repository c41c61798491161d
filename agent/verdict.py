"""From matches and facts to a verdict, by rules alone; the model has no part in it.

**confirmed** needs decisive evidence and nothing against it: a line of the failing process with
independent proof that it ended or never became ready, or the refusal of the control plane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from agent.facts import Facts
from agent.service_state import ServiceState, decide_state
from runbooks.catalog import Catalog
from runbooks.match import Match
from tools.domain import Change, Failure, Gap, LogRecord, Observation, Origin, Target

Level = Literal["healthy", "confirmed", "likely", "insufficient"]
Confidence = Literal["confirmed", "likely"]

EXIT_CODES: dict[Level, int] = {"healthy": 0, "confirmed": 1, "likely": 1, "insufficient": 3}

# Facts that prove, without the process's own words, that it ended or never became ready.
_PROOF = ("logs.exit_code", "logs.signal", "logs.probe_failed", "run.revision_ready")
MAX_HYPOTHESES = 5


@dataclass(frozen=True, slots=True)
class Lives:
    """What the logs say of each instance's end and of each revision's readiness.

    One instance's end proves nothing about another, and a revision that became ready nothing
    about a newer one. ``endings`` are by instance, ``ready`` is the time at which the newest start
    of a revision became ready; ``probe_revision`` is the revision whose start-up probe failed.
    """

    endings: Mapping[str, Observation] = field(default_factory=dict)
    ready: Mapping[str, datetime] = field(default_factory=dict)
    revisions: frozenset[str] = frozenset()
    probe_revision: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one look at the target brought, before any judgement."""

    target: Target
    observations: tuple[Observation, ...] = ()
    gaps: tuple[Gap, ...] = ()
    changes: tuple[Change, ...] = ()
    matches: tuple[Match, ...] = ()
    failures: tuple[Failure, ...] = ()
    cloud_calls: int = 0
    answered: bool = True  # False: nothing at all could be probed
    lives: Lives | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that a runbook's rule, or a failure without a runbook, supports."""

    id: str
    title: str
    component: str
    confidence: Confidence
    match: Match | None = None
    failure: Failure | None = None
    proof: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Something that may be, with what speaks for and against it; never part of the verdict."""

    title: str
    why: str
    against: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement, and what it rests on."""

    level: Level
    state: ServiceState
    causes: tuple[Cause, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    rests_on: tuple[Observation, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """Return the exit code of ``diagnose`` for this verdict."""
        return EXIT_CODES[self.level]


def conclude(findings: Findings, catalog: Catalog) -> Verdict:
    """Judge the findings."""
    facts = Facts(findings.observations)
    state = decide_state(facts)
    lives = findings.lives or Lives()
    proof = _proof(facts)
    causes: list[Cause] = []
    hypotheses: list[Hypothesis] = []
    for match in findings.matches:
        if match.kind != "cause":
            continue
        if past := _is_past(match, facts, lives):
            hypotheses.append(Hypothesis(f"{match.runbook.title} (earlier)", match.why, past))
        else:
            causes.append(_cause_of(match, facts, _own_proof(_records(match), proof, lives)))
    explained = {id(q.block) for m in findings.matches for q in m.quotes if q.block is not None}
    unknown = [
        failure
        for failure in findings.failures
        if id(failure.block) not in explained and not _failure_is_past(failure, facts, lives)
    ]
    for failure in unknown:
        if any(_same_process(failure, cause) for cause in causes):
            hypotheses.append(_follow_up(failure))
        else:
            causes.append(_pattern_cause(failure, _own_proof([failure.record], proof, lives)))
    hypotheses.extend(_from_symptoms(findings.matches, causes, catalog))
    level = _level(causes, facts, state)
    rests_on = tuple(facts.source(*state.rests_on)) if level != "insufficient" else ()
    return Verdict(level, state, tuple(causes), tuple(hypotheses[:MAX_HYPOTHESES]), rests_on)


def _level(causes: Sequence[Cause], facts: Facts, state: ServiceState) -> Level:
    if causes:
        return "confirmed" if any(c.confidence == "confirmed" for c in causes) else "likely"
    failed_deployment = facts.get("run.revision_ready") is False
    if state.state in {"serving", "scaled_to_zero"} and not failed_deployment:
        return "healthy"
    return "insufficient"


def _proof(facts: Facts) -> tuple[Observation, ...]:
    names = [
        name
        for name in _PROOF
        if facts.seen(name)
        and not (name == "logs.exit_code" and facts.get(name) == 0)
        and not (name == "run.revision_ready" and facts.get(name) is not False)
        and not (name == "logs.probe_failed" and facts.get(name) is not True)
    ]
    return tuple(
        observation
        for observation in facts.source(*names)
        if observation.origin in {Origin.PLATFORM, Origin.CONTROL_PLANE}
    )


def _own_proof(
    records: Sequence[LogRecord], proof: tuple[Observation, ...], lives: Lives
) -> tuple[Observation, ...]:
    """Return the proof that is about the instances and revisions of these records."""
    instances = {record.instance for record in records}
    revisions = {record.revision for record in records}
    if not records or "" in instances:
        return proof
    own = [lives.endings[name] for name in sorted(instances) if name in lives.endings]
    kept: list[Observation] = []
    for observation in proof:
        if {"logs.exit_code", "logs.signal"} & observation.facts.keys():
            if not lives.endings:
                kept.append(observation)
            continue
        about = observation.facts.get("run.revision", "")
        if "logs.probe_failed" in observation.facts:
            about = lives.probe_revision
        if not about or "" in revisions or about in revisions:
            kept.append(observation)
    return (*own, *kept)


def _records(match: Match) -> list[LogRecord]:
    return [quote.block.first for quote in match.quotes if quote.block is not None]


def _cause_of(match: Match, facts: Facts, proof: tuple[Observation, ...]) -> Cause:
    origins = {quote.origin for quote in match.quotes}
    refused = Origin.CONTROL_PLANE in origins
    ended = Origin.PROCESS in origins and bool(proof)
    serving_itself = (
        facts.text("endpoint.state") == "ready"
        and facts.get("run.revision_ready") is not False
        and facts.seen("run.revision")
    )
    sure = match.decisive and (refused or ended) and not serving_itself
    return Cause(
        id=match.runbook.id,
        title=match.runbook.title,
        component=match.runbook.component,
        confidence="confirmed" if sure else "likely",
        match=match,
        proof=proof,
    )


def _pattern_cause(failure: Failure, proof: tuple[Observation, ...]) -> Cause:
    head = failure.exception.message.strip().splitlines()
    title = f"{failure.exception.type}: {head[0]}" if head else failure.exception.type
    return Cause(
        id=f"pattern:{failure.fingerprint}",
        title=title if len(title) <= 160 else title[:159] + "…",
        component=failure.block.process.split(" ")[0] or "process",
        confidence="likely",
        failure=failure,
        proof=proof,
    )


def _is_past(match: Match, facts: Facts, lives: Lives) -> str:
    """Return why the match belongs to an earlier start, empty when it is of now."""
    if any(quote.origin is Origin.CONTROL_PLANE for quote in match.quotes) and (
        facts.get("run.revision_ready") is not True
    ):
        return ""
    if not match.quotes or all(quote.source != "logging" for quote in match.quotes):
        return ""
    newest = max((q.time for q in match.quotes if q.time), default=None)
    return _before_readiness(newest, _records(match), facts, lives)


def _failure_is_past(failure: Failure, facts: Facts, lives: Lives) -> bool:
    return bool(_before_readiness(failure.record.time, [failure.record], facts, lives))


def _before_readiness(
    time: datetime | None, records: Iterable[LogRecord], facts: Facts, lives: Lives
) -> str:
    revisions = {record.revision for record in records}
    if time is not None and revisions and revisions <= lives.revisions:
        # Each revision has starts of its own: another one's readiness is no answer.
        later = all(r in lives.ready and time <= lives.ready[r] for r in revisions)
        return "the server became ready after it" if later else ""
    if facts.get("logs.ready") is not True:
        return ""
    (ready,) = facts.source("logs.ready")
    if time is not None and ready.time is not None and time > ready.time:
        return ""
    return "the server became ready after it"


def _same_process(failure: Failure, cause: Cause) -> bool:
    # A second exception of an instance that already has a cause is taken for its consequence.
    if cause.match is None:
        return False
    instances = {
        record.instance
        for quote in cause.match.quotes
        if quote.block is not None
        for record in quote.block.records[:1]
    }
    return failure.record.instance in instances


def _follow_up(failure: Failure) -> Hypothesis:
    return Hypothesis(
        f"{failure.exception.type} in {failure.block.process or 'the same instance'}",
        "it was printed by the same instance",
        "an instance that fails prints more than one exception; the cause above explains its end",
    )


def _from_symptoms(
    matches: Sequence[Match], causes: Sequence[Cause], catalog: Catalog
) -> list[Hypothesis]:
    if causes:
        return []
    found: dict[str, Hypothesis] = {}
    for match in matches:
        if match.kind != "symptom":
            continue
        for runbook_id in match.runbook.may_be:
            runbook = catalog.get(runbook_id)
            if runbook is not None and runbook.id not in found:
                found[runbook.id] = Hypothesis(
                    runbook.title,
                    f"it can show as: {match.runbook.title}",
                    "none of its own evidence was seen",
                )
    return list(found.values())
