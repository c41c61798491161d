from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.approval import LIFETIME, Decision, call_hash
from agent.demo import demo_settings
from agent.events import AnswerFinished, ApprovalAsked, Event, ToolFinished
from agent.session import DiagnoseRequest, Session, checkpoints_path
from agent.settings import Settings
from tools.domain import Target
from tools.errors import UsageError
from tools.registry import load_change_tools
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario
from tools.tool import ToolContext

OLDEST = "gemma-4-12b-00009-old"
OLDER = "gemma-4-12b-00010-qkz"
NEWER = "gemma-4-12b-00011-2nn"
BROKEN = "gemma-4-12b-00012-bad"


def calls(*wanted: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"reply": {"tool_calls": [{"name": n, "arguments": a} for n, a in wanted]}}


def says(text: str, *heard: str) -> dict[str, Any]:
    return {"expect": {"contains": list(heard)}, "reply": {"content": text}}


ROLL_BACK = calls(("roll_back_traffic", {"revision": OLDER}))


@asynccontextmanager
async def opened(
    settings: Settings, scenario: Scenario, *steps: dict[str, Any], **changes: Any
) -> AsyncIterator[tuple[SimulatedCloud, Session]]:
    """A session on a cloud whose model follows the steps; all of them must be used."""
    interactive = changes.pop("interactive", True)
    changes = {"read_only": False, **changes}
    async with SimulatedCloud(scenario.with_chat(steps)) as cloud:
        chosen = demo_settings(cloud, settings.model_copy(update=changes))
        session = await Session.open(chosen, interactive=interactive)
        try:
            yield cloud, session
            cloud.assert_script_used()
        finally:
            await session.close()


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def asked_in(events: Sequence[Event]) -> ApprovalAsked:
    (found,) = (event for event in events if isinstance(event, ApprovalAsked))
    return found


def answer_in(events: Sequence[Event]) -> str:
    (found,) = (event for event in events if isinstance(event, AnswerFinished))
    return found.text


def decide(asked: ApprovalAsked, *decisions: Decision) -> dict[str, Decision]:
    return {call["call"]: one for call, one in zip(asked.calls, decisions, strict=True)}


def updates(cloud: SimulatedCloud) -> int:
    return len(cloud.calls_to("run.UpdateService"))


def audited(session: Session) -> list[tuple[str, str]]:
    kinds = {"approval", "change", "refusal"}
    return [(e["kind"], e["result"]) for e in session.memory.audit.entries() if e["kind"] in kinds]


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_change_waits_and_says_all_that_it_would_do(
    settings: Settings, revisions: Scenario
) -> None:
    async with opened(settings, revisions, ROLL_BACK, says("Done.", OLDER)) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        (call,) = asked.calls
        assert (call["tool"], call["arguments"]) == ("roll_back_traffic", {"revision": OLDER})
        assert call["effect"] == "change"
        assert call["before"]["traffic"] == {NEWER: 100}
        assert call["after"]["traffic"] == {OLDER: 100}
        assert call["cost"].startswith("none")
        assert "Every caller of gemma-4-12b" in call["blast_radius"]
        assert call["undo"].endswith(f"--to-revisions {NEWER}=100")
        assert updates(cloud) == 0
        events = await collect(session.approve(asked.approval, decide(asked, Decision(True))))
        assert answer_in(events) == "Done."
        assert updates(cloud) == 1
        assert await session.pending_approval() is None
        assert audited(session) == [
            ("approval", "asked"), ("approval", "approved"), ("change", "begun"), ("change", "done")
        ]  # fmt: skip
    with closing(sqlite3.connect(checkpoints_path(settings.state))) as db:
        assert db.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)


async def test_the_reason_of_a_denial_reaches_the_model(
    settings: Settings, revisions: Scenario
) -> None:
    heard = says("Understood.", "A person denied this call: not during the sale.")
    async with opened(settings, revisions, ROLL_BACK, heard) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        events = await collect(session.deny(asked.approval, "not during the sale"))
        assert answer_in(events) == "Understood."
        assert updates(cloud) == 0
        assert audited(session)[-1] == ("approval", "denied")


async def test_a_call_that_nobody_decided_on_is_denied(
    settings: Settings, revisions: Scenario
) -> None:
    heard = says("Understood.", "nobody decided on it")
    async with opened(settings, revisions, ROLL_BACK, heard) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        await collect(session.approve(asked.approval, {}))
        assert updates(cloud) == 0


async def test_an_approval_of_another_id_is_none(settings: Settings, revisions: Scenario) -> None:
    async with opened(settings, revisions, ROLL_BACK) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        with pytest.raises(UsageError):
            await collect(session.approve("a-other", decide(asked, Decision(True))))
        assert updates(cloud) == 0


async def test_read_only_is_the_default_and_offers_no_change(
    settings: Settings, revisions: Scenario
) -> None:
    assert Settings.model_fields["read_only"].default is True
    steps = ({"reply": {"content": "I may only look."}},)
    async with opened(settings, revisions, *steps, read_only=True) as (cloud, session):
        await collect(session.ask("roll the traffic back"))
        (asked,) = cloud.calls_to("http:/v1/chat/completions")
        assert "roll_back_traffic" not in asked.request


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"read_only": True}, "the setting read_only"), ({"interactive": False}, "plan file")],
)
async def test_a_change_that_was_not_offered_is_refused_all_the_same(
    settings: Settings, revisions: Scenario, changes: dict[str, bool], why: str
) -> None:
    steps = (ROLL_BACK, says("I may only look.", why))
    async with opened(settings, revisions, *steps, **changes) as (cloud, session):
        events = await collect(session.ask("roll the traffic back"))
        assert not any(isinstance(event, ApprovalAsked) for event in events)
        assert updates(cloud) == 0
        assert audited(session) == [("refusal", "refused")]


async def test_a_headless_diagnosis_changes_nothing(
    settings: Settings, revisions: Scenario
) -> None:
    steps = (ROLL_BACK, says("It is healthy.", "without a person to ask"))
    async with opened(settings, revisions, *steps, interactive=False) as (cloud, session):
        events = await collect(session.diagnose(DiagnoseRequest()))
        assert not any(isinstance(event, ApprovalAsked) for event in events)
        assert updates(cloud) == 0


@pytest.mark.parametrize(
    ("revision", "why"),
    [
        ("gemma-4-12b-00099-xyz", "has no revision"),
        (BROKEN, "not known to be ready"),
        (NEWER, "already carries all the traffic"),
        ("../../services/other", "has no revision"),
    ],
)
async def test_only_what_code_found_ready_is_asked_for(
    settings: Settings, revisions: Scenario, revision: str, why: str
) -> None:
    steps = (calls(("roll_back_traffic", {"revision": revision})), says("No.", why))
    async with opened(settings, revisions, *steps) as (cloud, session):
        assert answer_in(await collect(session.ask("roll the traffic back"))) == "No."
        assert updates(cloud) == 0


async def test_an_expired_approval_is_asked_for_again(
    settings: Settings, revisions: Scenario, clock: Clock
) -> None:
    async with opened(settings, revisions, ROLL_BACK, says("Done.")) as (cloud, session):
        session.memory.file.clock = clock
        first = asked_in(await collect(session.ask("roll the traffic back")))
        clock.now += LIFETIME
        again = asked_in(
            await collect(session.approve(first.approval, decide(first, Decision(True))))
        )
        assert updates(cloud) == 0
        assert again.approval != first.approval
        assert "expired" in again.calls[0]["again"]
        clock.now += LIFETIME - timedelta(seconds=1)
        await collect(session.approve(again.approval, decide(again, Decision(True))))
        assert updates(cloud) == 1


async def test_an_approval_of_a_state_that_has_changed_is_asked_for_again(
    settings: Settings, revisions: Scenario
) -> None:
    async with opened(settings, revisions, ROLL_BACK, says("Done.")) as (cloud, session):
        first = asked_in(await collect(session.ask("roll the traffic back")))
        # Somebody else moves half of the traffic in the meantime.
        state = cloud._grpc._handlers["run.GetService"].__self__._services["gemma-4-12b"]
        state.traffic = {NEWER: 50, OLDER: 50}
        state.generation += 1
        again = asked_in(
            await collect(session.approve(first.approval, decide(first, Decision(True))))
        )
        assert updates(cloud) == 0
        assert "live state changed" in again.calls[0]["again"]
        assert again.calls[0]["before"]["traffic"] == {NEWER: 50, OLDER: 50}
        assert again.calls[0]["hash"] != first.calls[0]["hash"]
        await collect(session.approve(again.approval, decide(again, Decision(True))))
        assert updates(cloud) == 1


async def test_an_approval_counts_once_and_not_for_the_session(
    settings: Settings, revisions: Scenario
) -> None:
    steps = (ROLL_BACK, says("Done."), calls(("roll_back_traffic", {"revision": NEWER})), says("?"))
    async with opened(settings, revisions, *steps) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        await collect(session.approve(asked.approval, decide(asked, Decision(True))))
        with pytest.raises(UsageError):
            await collect(session.approve(asked.approval, decide(asked, Decision(True))))
        await collect(session.ask("and forward again"))  # newer than what serves: no roll-back
        assert updates(cloud) == 1


async def test_a_pending_approval_outlives_the_process_that_asked(
    settings: Settings, revisions: Scenario
) -> None:
    async with SimulatedCloud(revisions.with_chat([ROLL_BACK, says("Done.")])) as cloud:
        chosen = demo_settings(cloud, settings.model_copy(update={"read_only": False}))
        session = await Session.open(chosen, interactive=True)
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        await session.close()
        again = await Session.open(chosen, session=session.id, interactive=True)
        try:
            assert await again.pending_approval() == asked
            events = await collect(again.approve(asked.approval, decide(asked, Decision(True))))
            assert answer_in(events) == "Done."
        finally:
            await again.close()
        assert updates(cloud) == 1


async def test_another_question_withdraws_what_was_asked(
    settings: Settings, revisions: Scenario
) -> None:
    async with opened(settings, revisions, ROLL_BACK, says("Hello.")) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll the traffic back")))
        await collect(session.ask("hello?"))
        assert await session.pending_approval() is None
        with pytest.raises(UsageError):
            await collect(session.approve(asked.approval, decide(asked, Decision(True))))
        assert updates(cloud) == 0
        assert audited(session)[-1] == ("approval", "withdrawn")


async def test_one_gate_for_the_batch_and_reads_beside_it(
    settings: Settings, revisions: Scenario
) -> None:
    batch = calls(("list_revisions", {}), ("roll_back_traffic", {"revision": OLDER}))
    async with opened(settings, revisions, batch, says("Done.")) as (cloud, session):
        asked = asked_in(await collect(session.ask("list the revisions and roll back")))
        assert [call["tool"] for call in asked.calls] == ["roll_back_traffic"]
        events = await collect(session.approve(asked.approval, decide(asked, Decision(True))))
        ran = [event.name for event in events if isinstance(event, ToolFinished)]
        assert [name for name in ran if name in {"list_revisions", "roll_back_traffic"}] == [
            "list_revisions",
            "roll_back_traffic",
        ]
        assert updates(cloud) == 1


async def test_a_change_that_moves_the_ground_of_the_next_makes_it_be_asked_again(
    settings: Settings, revisions: Scenario
) -> None:
    twice = calls(*(("roll_back_traffic", {"revision": one}) for one in (OLDER, OLDEST)))
    async with opened(settings, revisions, twice, says("Back at the oldest.")) as (cloud, session):
        asked = asked_in(await collect(session.ask("roll back twice")))
        both = decide(asked, Decision(True), Decision(True))
        again = asked_in(await collect(session.approve(asked.approval, both)))
        assert updates(cloud) == 1
        assert [call["arguments"]["revision"] for call in again.calls] == [OLDEST]
        await collect(session.approve(again.approval, decide(again, Decision(True))))
        assert updates(cloud) == 2


async def test_after_a_failed_change_no_other_is_begun(
    settings: Settings, revisions: Scenario
) -> None:
    twice = calls(*(("roll_back_traffic", {"revision": one}) for one in (OLDER, OLDEST)))
    heard = says("It failed.", "It failed", "before it did not succeed")
    async with opened(settings, revisions, twice, heard) as (cloud, session):
        cloud.inject(
            "run.UpdateService",
            error={"code": "PERMISSION_DENIED", "permission": "run.services.update"},
        )
        asked = asked_in(await collect(session.ask("roll back twice")))
        both = decide(asked, *(Decision(True) for _ in asked.calls))
        await collect(session.approve(asked.approval, both))
        assert updates(cloud) == 1
        assert ("change", "failed") in audited(session)


async def test_a_destroying_call_is_typed_one_at_a_time_and_only_ours(
    settings: Settings, own_queue: Scenario
) -> None:
    steps = (
        calls(*(("delete_queued_resource", {"name": n}) for n in ("ours", "ours-too"))),
        says("One is gone.", "Only one destroying call"),
        calls(("delete_queued_resource", {"name": "gemma-v6e-queue"})),
        says("Not ours.", "lacks the label managed-by=gemma-sre"),
    )
    async with opened(settings, own_queue, *steps) as (cloud, session):
        asked = asked_in(await collect(session.ask("delete the queued resources")))
        (call,) = asked.calls
        assert (call["effect"], call["confirm"]) == ("destroy", "ours")
        typed = decide(asked, Decision(True, typed="ours"))
        await collect(session.approve(asked.approval, typed))
        assert len(cloud.calls_to("tpu.DeleteQueuedResource")) == 1
        await collect(session.ask("and the other one"))
        assert len(cloud.calls_to("tpu.DeleteQueuedResource")) == 1


@pytest.mark.parametrize("typed", ["", "our", "OURS", "ours-too"])
async def test_a_name_that_is_not_typed_denies(
    settings: Settings, own_queue: Scenario, typed: str
) -> None:
    steps = (calls(("delete_queued_resource", {"name": "ours"})), says("No.", "was not typed"))
    async with opened(settings, own_queue, *steps) as (cloud, session):
        asked = asked_in(await collect(session.ask("delete the queued resource")))
        await collect(session.approve(asked.approval, decide(asked, Decision(True, typed=typed))))
        assert not cloud.calls_to("tpu.DeleteQueuedResource")


@pytest.mark.parametrize(
    "change",
    [
        lambda bound: bound | {"arguments": {"revision": NEWER}},
        lambda bound: bound | {"target": Target("cloud-run", service="other")},
        lambda bound: bound | {"state": "another"},
    ],
)
def test_the_hash_binds_arguments_target_and_state(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    bound: dict[str, Any] = {
        "tool": load_change_tools()["roll_back_traffic"],
        "arguments": {"revision": OLDER},
        "target": Target("cloud-run", service="gemma"),
        "state": "s",
    }
    assert call_hash(**bound) != call_hash(**change(bound))
    assert call_hash(**bound) == call_hash(**bound)


async def test_a_change_without_an_approval_is_noticed(
    settings: Settings, revisions: Scenario, only_approved_changes: list[SimulatedCloud]
) -> None:
    async with opened(settings, revisions) as (cloud, _session):
        config = cloud.config()
        context = ToolContext(cloud.target(), config, cloud.endpoint_config())
        await load_change_tools()["roll_back_traffic"].run(context, revision=OLDER)
        assert updates(cloud) == 1
        assert approved_in(settings.state) == 0
    # What the fixture would fail this very test for.
    assert only_approved_changes == [cloud]
    only_approved_changes.clear()


def approved_in(state: Path) -> int:
    with closing(sqlite3.connect(state)) as db:
        return int(db.execute("SELECT count(*) FROM change_intents").fetchone()[0])
