"""Kills at every stage of an approved change; the cloud lives in this process and outlives them."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.approval import Decision
from agent.demo import demo_settings
from agent.events import ApprovalAsked, Event, ToolFinished
from agent.intents import Intents
from agent.session import Session
from agent.settings import Settings
from tools.simulator.cloud import SimulatedCloud, run_in_thread
from tools.simulator.scenario import Scenario

OLDER = "gemma-4-12b-00010-qkz"
CALL = {"name": "roll_back_traffic", "arguments": {"revision": OLDER}}
ROLL_BACK: dict[str, Any] = {"reply": {"tool_calls": [CALL]}}
DONE: dict[str, Any] = {"reply": {"content": "Done."}}

# Asks, approves whatever waits, resumes what was cut off, and kills itself at the named stage.
DRIVER = """
import asyncio, json, os, signal, sys
import tools.google.traffic as traffic
from agent.approval import Decision
from agent.events import ApprovalAsked
from agent.intents import Intents
from agent.session import Session
from agent.settings import Settings

config, session, stage = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]

def die_at(name):
    if stage == name:
        os.kill(os.getpid(), signal.SIGKILL)

def around(owner, name, before, after):
    inner = getattr(owner, name)
    def call(*args, **kwargs):
        die_at(before)
        result = inner(*args, **kwargs)
        die_at(after)
        return result
    setattr(owner, name, call)

around(Intents, "decide", "", "decided")
around(Intents, "begin", "before the intent", "intent")
around(Intents, "settle", "before the result", "result")
ask_once = traffic.ask_once

async def asking(*args):
    operation = await ask_once(*args)
    die_at("taken")
    return operation

traffic.ask_once = asking

async def show(events):
    async for event in events:
        if isinstance(event, ApprovalAsked):
            die_at("asked")
        die_at(type(event).__name__)

async def main():
    settings = Settings.load(**config)
    open_one = await Session.open(settings, session=session or None, interactive=True)
    print(open_one.id, flush=True)
    try:
        pending = await open_one.pending_approval()
        if pending is None and open_one.was_cut_off():
            await show(open_one.resume())
        elif pending is None and not any(
            turn["state"] == "finished" for turn in open_one.memory.turns(open_one.id)
        ):
            await show(open_one.ask("roll the traffic back"))
        while (pending := await open_one.pending_approval()) is not None:
            allowed = {call["call"]: Decision(True) for call in pending.calls}
            await show(open_one.approve(pending.approval, allowed))
    finally:
        await open_one.close()

asyncio.run(main())
"""


def start(config: str, session: str, stage: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, config, session, stage]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def drive(config: str, session: str, stage: str) -> tuple[str, int]:
    with start(config, session, stage) as child:
        out, _ = child.communicate(timeout=60)
    return out.strip(), child.returncode


@pytest.fixture
def cloud(revisions: Scenario) -> Iterator[SimulatedCloud]:
    with run_in_thread(revisions.with_chat([ROLL_BACK, DONE])) as running:
        yield running


def config_of(cloud: SimulatedCloud, settings: Settings, state: Path) -> str:
    chosen = demo_settings(cloud, settings)
    kept = ("project", "location", "zone", "base_url", "model", "service", "kind", "loopback")
    plain = chosen.model_dump(mode="json", include=set(kept))
    limits = {"cloud": 5, "health": 2, "first_token": 5}
    return json.dumps(plain | {"state": str(state), "read_only": False, "limits": limits})


def rows(state: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(state)) as db:
        return db.execute(sql).fetchall()


def outcomes(state: Path) -> list[str]:
    return [row[0] for row in rows(state, "SELECT outcome FROM change_intents ORDER BY begun")]


def updates(cloud: SimulatedCloud) -> int:
    return len(cloud.calls_to("run.UpdateService"))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("stage", "ended"),
    [
        pytest.param("asked", ["done"], marks=SLOW),
        pytest.param("decided", ["done"], marks=SLOW),
        pytest.param("before the intent", ["done"], marks=SLOW),
        ("intent", ["not_done", "done"]),  # asked again, for nothing had been sent
        ("taken", ["done"]),  # the operation ran on without us
        pytest.param("before the result", ["done"], marks=SLOW),
        pytest.param("result", ["done"], marks=SLOW),
        pytest.param("AnswerFinished", ["done"], marks=SLOW),
    ],
)
def test_killed_at_any_stage_nothing_is_lost_and_nothing_runs_twice(
    cloud: SimulatedCloud, settings: Settings, stage: str, ended: list[str]
) -> None:
    config = config_of(cloud, settings, settings.state)
    session, code = drive(config, "", stage)
    assert code == -signal.SIGKILL
    if stage != "AnswerFinished":
        cloud.script([DONE])
    same, code = drive(config, session, "never")
    assert (same, code) == (session, 0)
    assert updates(cloud) == 1
    assert outcomes(settings.state) == ended
    turns = rows(settings.state, "SELECT state, answer FROM turns")
    assert [turn for turn in turns if turn[0] == "running"] == []
    cloud.assert_script_used()


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    revisions: Scenario, settings: Settings, tmp_path: Path
) -> None:
    chance = random.Random(20)
    died = 0
    for number in range(20):
        state = tmp_path / f"{number}" / "state.db"
        with run_in_thread(revisions.with_chat([ROLL_BACK, DONE, DONE])) as cloud:
            config = config_of(cloud, settings, state)
            with start(config, "", "never") as child:
                assert child.stdout is not None
                session = child.stdout.readline().strip()
                killer = threading.Timer(chance.uniform(0.0, 2.5), child.kill)
                killer.start()
                child.communicate(timeout=60)
                killer.cancel()
            died += child.returncode == -signal.SIGKILL
            before = outcomes(state)
            cloud.script([ROLL_BACK, DONE, DONE])
            _, code = drive(config, session, "never")
            assert code == 0, number
            assert updates(cloud) == 1, (number, before, outcomes(state))
            assert outcomes(state)[-1] == "done", number
            assert "" not in outcomes(state), number
            whole = rows(state, "SELECT result FROM audit WHERE kind = 'approval'")
            assert ("approved",) in whole
    assert died >= 10


async def ended(events: Any) -> list[Event]:
    return [event async for event in events]


async def test_an_answer_that_was_lost_is_looked_up_not_asked_for_twice(
    revisions: Scenario, settings: Settings
) -> None:
    async with SimulatedCloud(revisions.with_chat([ROLL_BACK, DONE])) as cloud:
        cloud.inject("run.UpdateService", error={"code": "UNAVAILABLE"})
        chosen = demo_settings(cloud, settings.model_copy(update={"read_only": False}))
        session = await Session.open(chosen, interactive=True)
        try:
            asked = (await ended(session.ask("roll the traffic back")))[-1]
            assert isinstance(asked, ApprovalAsked)
            allowed = {asked.calls[0]["call"]: Decision(True)}
            again = (await ended(session.approve(asked.approval, allowed)))[-1]
            # Not carried out, says the live state: a person decides anew.
            assert isinstance(again, ApprovalAsked)
            assert updates(cloud) == 1
            assert outcomes(settings.state) == ["not_done"]
            cloud.clear_faults()
            allowed = {again.calls[0]["call"]: Decision(True)}
            await ended(session.approve(again.approval, allowed))
            assert outcomes(settings.state) == ["not_done", "done"]
        finally:
            await session.close()


async def test_a_cut_off_change_of_an_earlier_turn_is_settled_before_the_next(
    revisions: Scenario, settings: Settings
) -> None:
    async with SimulatedCloud(revisions.with_chat([DONE])) as cloud:
        chosen = demo_settings(cloud, settings.model_copy(update={"read_only": False}))
        session = await Session.open(chosen, interactive=True)
        try:
            intents = Intents(session.memory)
            intent = {
                "approval": "a-1",
                "call": "c1",
                "turn": "t-earlier",
                "session": session.id,
                "tool": "roll_back_traffic",
                "effect": "change",
                "arguments": {"revision": OLDER},
                "target": {
                    "kind": "cloud-run",
                    "service": "gemma-4-12b",
                    "project": chosen.project,
                    "location": chosen.location,
                    "zone": "",
                },
                "before": {"generation": 0},
            }
            session.memory.db.conn.execute(
                "INSERT INTO turns (id, session, kind, state, started) VALUES"
                " ('t-earlier', ?, 'ask', 'cancelled', '2026')",
                (session.id,),
            )
            session.memory.db.conn.commit()
            intents.begin(intent)
            events = await ended(session.ask("hello?"))
            (told,) = (e for e in events if isinstance(e, ToolFinished) and e.call == "c1")
            assert "unknown" in told.summary
            row = intents.find("a-1", "c1")
            assert row is not None
            assert row["outcome"] == "unknown"
            assert intents.unsettled(session.id) == []
        finally:
            await session.close()
        assert updates(cloud) == 0


def test_a_result_is_kept_once(settings: Settings) -> None:
    from agent.memory import Memory

    memory = Memory.open(settings.state)
    try:
        intents = Intents(memory)
        names = ("approval", "call", "turn", "session", "tool", "effect")
        intents.begin({n: n for n in names} | {"arguments": {}, "target": {}, "before": {}})
        intents.settle("approval", "call", "done", "first")
        intents.settle("approval", "call", "failed", "second")
        row = intents.find("approval", "call")
        assert row is not None
        assert (row["outcome"], row["summary"]) == ("done", "first")
        assert [e["result"] for e in memory.audit.entries()] == ["begun", "done"]
    finally:
        memory.close()
