from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.demo import demo_settings
from agent.events import PhaseChanged, TurnFailed, TurnFinished, TurnStarted
from agent.memory import Memory
from agent.session import DiagnoseRequest, Session, checkpoints_path
from agent.settings import Settings
from tools.errors import StateError, UsageError
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

# Diagnoses and kills itself at the first event of the named kind.
DRIVER = """
import asyncio, os, signal, sys
from pathlib import Path
from agent.demo import open_demo
from agent.session import DiagnoseRequest, Session
from agent.settings import Settings

async def main(state, where):
    settings = Settings.load(state=Path(state))
    async with open_demo("int4-kernel-l4", settings) as demo:
        request = DiagnoseRequest(rules_only=True)
        session = await Session.open_for(demo, request)
        try:
            async for event in session.diagnose(request):
                if where in (getattr(event, "phase", ""), type(event).__name__):
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            await session.close()

asyncio.run(main(*sys.argv[1:]))
"""


def drive(state: Path, where: str) -> int:
    command = [sys.executable, "-c", DRIVER, str(state), where]
    return subprocess.run(command, timeout=60, check=False).returncode


def tables(state: Path) -> dict[str, list[Any]]:
    memory = Memory.open(state)
    try:
        return {
            name: memory.db.execute(f"SELECT * FROM {name}").fetchall()
            for name in ("sessions", "turns", "incidents", "incident_turns")
        }
    finally:
        memory.close()


@pytest.mark.parametrize("where", ["probe", "verdict", "record", "VerdictReached"])
def test_a_killed_diagnosis_resumes_and_is_recorded_once(tmp_path: Path, where: str) -> None:
    state = tmp_path / "state.db"
    assert drive(state, where) == -signal.SIGKILL
    assert drive(state, "never") == 0
    found = tables(state)
    assert [len(found[name]) for name in found] == [1, 1, 1, 1]
    memory = Memory.open(state)
    turn = memory.db.execute("SELECT state, report FROM turns").fetchone()
    (incident,) = memory.list_incidents()
    memory.close()
    assert (turn[0], incident["count"]) == ("finished", 1)
    assert json.loads(turn[1])["incident"] == incident["id"]


async def test_a_resumed_turn_says_so(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("healthy")) as cloud:
        chosen = demo_settings(cloud, settings)
        request = DiagnoseRequest(rules_only=True)
        session = await Session.open(chosen)
        async for event in session.diagnose(request):
            if isinstance(event, PhaseChanged):
                break
        await session.close()
        # As a kill leaves it: still running, and the lock free.
        memory = Memory.open(settings.state)
        memory.db.conn.execute("UPDATE turns SET state = 'running'")
        memory.db.conn.commit()
        memory.close()
        again = await Session.open_for(chosen, request)
        events = [event async for event in again.diagnose(request)]
        await again.close()
    assert again.id == session.id
    started = events[0]
    assert isinstance(started, TurnStarted)
    assert started.resumed


async def test_one_process_at_a_time_holds_a_session(settings: Settings) -> None:
    session = await Session.open(settings)
    with pytest.raises(StateError, match="another gemma-sre"):
        await Session.open(settings, session=session.id)
    await session.close()
    again = await Session.open(settings, session=session.id)
    await again.close()
    with pytest.raises(UsageError):
        await Session.open(settings, session="s-none")


async def test_cancel_keeps_the_session(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud:
        cloud.behave("stall")
        slow = settings.limits.model_copy(update={"health": 30.0})
        chosen = demo_settings(cloud, settings.model_copy(update={"limits": slow}))
        session = await Session.open(chosen)
        events = []
        took = 0.0
        async for event in session.diagnose(DiagnoseRequest()):
            events.append(event)
            if isinstance(event, PhaseChanged):
                await asyncio.sleep(0)
                before = time.monotonic()
                await session.cancel()
                took = time.monotonic() - before
        assert took < 0.3
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].cancelled
        cloud.behave("normal")
        again = [event async for event in session.diagnose(DiagnoseRequest(rules_only=True))]
        assert not any(isinstance(event, TurnFailed) for event in again)
        await session.close()


async def test_nothing_to_look_at_is_one_sentence(settings: Settings) -> None:
    session = await Session.open(settings)
    events = [event async for event in session.diagnose(DiagnoseRequest())]
    await session.close()
    (failed,) = (event for event in events if isinstance(event, TurnFailed))
    assert failed.exit_code == 2
    assert "\n" not in failed.message


async def test_finished_turns_leave_no_checkpoints(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("healthy")) as cloud:
        session = await Session.open(demo_settings(cloud, settings))
        async for _ in session.diagnose(DiagnoseRequest(rules_only=True)):
            pass
        await session.close()
    import sqlite3

    with sqlite3.connect(checkpoints_path(settings.state)) as db:
        assert db.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
    db.close()


async def test_a_question_about_the_state_is_answered_without_a_model(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("oom-31b-l4")) as cloud:
        session = await Session.open(demo_settings(cloud, settings))
        events = [event async for event in session.ask("why is it down?")]
        await session.close()
    answer = next(e for e in events if type(e).__name__ == "AnswerFinished")
    assert answer.author == "rules"
    assert "embedding" in answer.text


async def test_nothing_at_all_that_could_be_probed_is_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Credentials that can't be read stand for a machine that has none: no network is asked.
    broken = tmp_path / "adc.json"
    broken.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(broken))
    chosen = settings.model_copy(update={"project": "p", "location": "us-central1"})
    session = await Session.open(chosen)
    request = DiagnoseRequest(service="x", kind="cloud-run")
    events = [event async for event in session.diagnose(request)]
    await session.close()
    (failed,) = (event for event in events if isinstance(event, TurnFailed))
    assert failed.exit_code == 2
    assert "Nothing at all could be probed" in failed.message
