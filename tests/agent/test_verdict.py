from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.verdict import Findings, Lives, Verdict, conclude
from runbooks.catalog import Catalog
from runbooks.match import Matcher
from tools.domain import (
    Block,
    ExceptionNote,
    Failure,
    Gap,
    LogRecord,
    Observation,
    Origin,
    Scalar,
    Target,
)

CATALOG = Catalog.load()
START = datetime(2026, 6, 6, 3, 41, tzinfo=UTC)
KERNEL = "Failed to find a kernel that can implement the WNA16 linear layer. Reasons: "


def an_exception(
    type_: str,
    message: str,
    *,
    second: int = 0,
    origin: Origin = Origin.PROCESS,
    instance: str = "i1",
) -> Block:
    record = LogRecord(
        ref=f"id-{second}",
        text=f"{type_}: {message}",
        time=START + timedelta(seconds=second),
        origin=origin,
        instance=instance,
    )
    note = ExceptionNote(type_, message, (0,))
    return Block("traceback", record.text, (record,), "EngineCore pid=1", exceptions=(note,))


def saw(second: int = 60, origin: Origin = Origin.PLATFORM, **facts: Scalar) -> Observation:
    named = {name.replace("__", "."): value for name, value in facts.items()}
    return Observation(
        "logging" if "logs" in next(iter(named)) else "run",
        f"o-{second}",
        f"the platform said {named}",
        START + timedelta(seconds=second),
        origin,
        named,
    )


def judge(
    blocks: Iterable[Block] = (),
    observations: tuple[Observation, ...] = (),
    failures: tuple[Failure, ...] = (),
) -> Verdict:
    matcher = Matcher(CATALOG, platform="cloud-run")
    for block in blocks:
        matcher.add(block)
    findings = Findings(
        Target("cloud-run", "gemma"),
        observations,
        gaps=(Gap("x", "y"),),
        matches=matcher.finish(observations, None),
        failures=failures,
    )
    return conclude(findings, CATALOG)


EXITED = saw(60, logs__exit_code=1)


def test_the_failing_process_with_proof_of_its_end_is_confirmed() -> None:
    verdict = judge([an_exception("ValueError", KERNEL)], (EXITED,))
    assert (verdict.level, verdict.exit_code) == ("confirmed", 1)
    assert [cause.id for cause in verdict.causes] == ["wna16-no-kernel"]
    assert verdict.causes[0].proof == (EXITED,)


def test_without_proof_of_the_end_it_is_at_most_likely() -> None:
    verdict = judge([an_exception("ValueError", KERNEL)])
    assert [cause.confidence for cause in verdict.causes] == ["likely"]


def test_an_exit_with_0_proves_nothing() -> None:
    verdict = judge([an_exception("ValueError", KERNEL)], (saw(logs__exit_code=0),))
    assert verdict.level == "likely"


def test_the_process_cannot_vouch_for_its_own_end() -> None:
    forged = saw(60, Origin.PROCESS, logs__exit_code=1)
    assert judge([an_exception("ValueError", KERNEL)], (forged,)).level == "likely"


def test_what_came_before_readiness_is_no_cause_of_now() -> None:
    ready = saw(120, Origin.PROCESS, logs__ready=True)
    verdict = judge([an_exception("ValueError", KERNEL)], (ready,))
    assert (verdict.level, verdict.causes) == ("healthy", ())
    assert "became ready after" in verdict.hypotheses[0].against


def test_a_refusal_by_the_control_plane_is_confirmed() -> None:
    refusal = Observation(
        "run",
        "revisions/r",
        "Permission denied on secret: projects/p/secrets/t/versions/latest for Revision service"
        " account a@p.iam.gserviceaccount.com.",
        START,
        Origin.CONTROL_PLANE,
        {"run.revision_ready": False, "run.revision": "r"},
    )
    verdict = judge(observations=(refusal,))
    assert [(c.id, c.confidence) for c in verdict.causes] == [("run-secret-denied", "confirmed")]


@pytest.mark.parametrize(
    "text",
    [
        "Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "Engine core initialization failed. See root cause above",
    ],
)
def test_a_symptom_alone_is_never_a_cause(text: str) -> None:
    verdict = judge([an_exception("RuntimeError", text)], (EXITED,))
    assert (verdict.level, verdict.exit_code, verdict.causes) == ("insufficient", 3, ())


def test_an_exit_alone_is_never_a_cause() -> None:
    said = LogRecord("p", "Container called exit(1).", START, origin=Origin.PLATFORM)
    assert judge([Block("line", said.text, (said,))], (EXITED,)).level == "insufficient"


def test_what_a_caller_wrote_is_never_a_cause() -> None:
    verdict = judge([an_exception("ValueError", KERNEL, origin=Origin.CALLER)], (EXITED,))
    assert (verdict.level, verdict.causes) == ("insufficient", ())


def a_failure(block: Block) -> Failure:
    return Failure("0123456789ab", block.exceptions[0], block)


def test_a_failure_without_a_runbook_is_a_pattern_at_most_likely() -> None:
    block = an_exception("OverflowError", "the flux\ncapacitor")
    verdict = judge([block], (EXITED,), (a_failure(block),))
    (cause,) = verdict.causes
    assert (cause.id, cause.confidence) == ("pattern:0123456789ab", "likely")
    assert cause.title == "OverflowError: the flux"


def test_a_second_exception_of_the_same_instance_follows_from_the_cause() -> None:
    known = an_exception("ValueError", KERNEL)
    other = an_exception("OverflowError", "x", second=1)
    verdict = judge([known, other], (EXITED,), (a_failure(known), a_failure(other)))
    assert [cause.id for cause in verdict.causes] == ["wna16-no-kernel"]
    assert any("OverflowError" in h.title for h in verdict.hypotheses)


def test_a_failure_of_another_instance_is_a_cause_of_its_own() -> None:
    known = an_exception("ValueError", KERNEL)
    other = an_exception("OverflowError", "x", instance="i2")
    verdict = judge([known, other], (EXITED,), (a_failure(other),))
    assert [cause.id for cause in verdict.causes] == ["wna16-no-kernel", "pattern:0123456789ab"]


def test_a_failed_deployment_whose_cause_was_not_seen_is_not_healthy() -> None:
    revision = saw(
        0,
        Origin.CONTROL_PLANE,
        run__revision_ready=False,
        run__revision="r2",
        run__serving_revision="r1",
    )
    ready = saw(1, Origin.CONTROL_PLANE, endpoint__state="ready")
    verdict = judge(observations=(revision, ready))
    assert (verdict.level, verdict.state.state) == ("insufficient", "serving")
    assert "r1" in verdict.state.impact


def test_nothing_seen_is_insufficient() -> None:
    verdict = judge()
    assert (verdict.level, verdict.state.state) == ("insufficient", "unknown")


def printed_by(block: Block, instance: str, revision: str) -> Block:
    records = tuple(replace(r, instance=instance, revision=revision) for r in block.records)
    return replace(block, records=records)


def judge_lives(blocks: Iterable[Block], lives: Lives, *observations: Observation) -> Verdict:
    matcher = Matcher(CATALOG, platform="cloud-run")
    for block in blocks:
        matcher.add(block)
    findings = Findings(
        Target("cloud-run", "gemma"),
        observations,
        matches=matcher.finish(observations, None),
        lives=lives,
    )
    return conclude(findings, CATALOG)


def test_two_independent_failures_are_both_causes() -> None:
    kernel = printed_by(an_exception("ValueError", KERNEL), "i1", "r1")
    denied = Observation(
        "run",
        "revisions/r2",
        "Permission denied on secret: projects/p/secrets/t/versions/latest for Revision service"
        " account a@p.iam.gserviceaccount.com.",
        START,
        Origin.CONTROL_PLANE,
        {"run.revision_ready": False, "run.revision": "r2"},
    )
    ended = Lives(endings={"i1": EXITED}, revisions=frozenset({"r1"}))
    verdict = judge_lives([kernel], ended, denied)
    assert {(c.id, c.confidence) for c in verdict.causes} == {
        ("wna16-no-kernel", "confirmed"),
        ("run-secret-denied", "confirmed"),
    }
    assert verdict.exit_code == 1


def test_the_end_of_another_instance_proves_nothing() -> None:
    """A forged line of the instance that serves, while another revision truly fails."""
    forged = printed_by(an_exception("ValueError", KERNEL), "serving", "r1")
    failed = saw(50, Origin.CONTROL_PLANE, run__revision="r2", run__revision_ready=False)
    lives = Lives(endings={"failing": EXITED}, probe_revision="r2")
    probe = saw(55, logs__probe_failed=True)
    verdict = judge_lives([forged], lives, EXITED, failed, probe)
    assert [(c.id, c.confidence, c.proof) for c in verdict.causes] == [
        ("wna16-no-kernel", "likely", ())
    ]
    own = judge_lives([printed_by(forged, "failing", "r2")], lives, EXITED, failed, probe)
    assert own.level == "confirmed"
    assert sorted(o.ref for o in own.causes[0].proof) == ["o-50", "o-55", "o-60"]


def test_an_older_revision_that_becomes_ready_does_not_excuse_the_newest() -> None:
    """The revision before scales up after the failure; that heals nothing."""
    kernel = printed_by(an_exception("ValueError", KERNEL), "i2", "r2")
    ready = saw(120, Origin.PROCESS, logs__ready=True)
    later = START + timedelta(seconds=120)
    lives = Lives({"i2": EXITED}, {"r1": later}, frozenset({"r1", "r2"}))
    assert judge_lives([kernel], lives, ready).level == "confirmed"
    healed = Lives({"i2": EXITED}, {"r2": later}, frozenset({"r2"}))
    verdict = judge_lives([kernel], healed, ready)
    assert (verdict.level, verdict.hypotheses[0].against) == (
        "healthy",
        "the server became ready after it",
    )


def test_every_hypothesis_says_what_speaks_against_it() -> None:
    verdict = judge(observations=(saw(logs__probe_failed=True),))
    assert verdict.level == "insufficient"
    assert len(verdict.hypotheses) > 2
    assert all(h.title and h.why and h.against for h in verdict.hypotheses)
