from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.session import DiagnoseRequest
from agent.verdict import EXIT_CODES
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario, shipped_scenarios

Diagnose = Callable[..., Awaitable[Any]]
NAMES = [info.name for info in shipped_scenarios()]

ANSWER = {"reply": {"content": "The rules are right [E1]."}}


def test_there_are_the_eight() -> None:
    assert len(NAMES) >= 8


def check(diagnosed: Any, name: str) -> None:
    expected, report = load_scenario(name).expected, diagnosed.report
    assert report["verdict"] == expected.verdict
    assert EXIT_CODES[report["verdict"]] == expected.exit_code
    assert [cause["id"] for cause in report["causes"]] == list(expected.causes)
    assert report["service_state"] == expected.service_state
    for text in expected.gaps_contain:
        assert any(text in gap for gap in report["gaps"]), report["gaps"]
    ids = {evidence["id"] for evidence in report["evidence"]}
    assert all(set(cause["evidence"]) <= ids and cause["evidence"] for cause in report["causes"])
    assert report["target"]["simulated"] == name


@pytest.mark.parametrize("name", NAMES)
async def test_rules_alone_reach_the_expected_verdict(diagnose: Diagnose, name: str) -> None:
    async with SimulatedCloud(load_scenario(name)) as cloud:
        diagnosed = await diagnose(cloud, request=DiagnoseRequest(rules_only=True))
        check(diagnosed, name)
        assert diagnosed.report["brain"]["mode"] == "rules"
        assert diagnosed.report["stats"]["model_calls"] == 0
        assert not cloud.woken


@pytest.mark.parametrize("name", NAMES)
async def test_a_scripted_model_changes_nothing_of_it(diagnose: Diagnose, name: str) -> None:
    thinker = load_scenario("healthy").with_chat([ANSWER])
    async with SimulatedCloud(load_scenario(name)) as cloud, SimulatedCloud(thinker) as brain:
        diagnosed = await diagnose(cloud, brain=brain)
        check(diagnosed, name)
        assert diagnosed.report["brain"]["mode"] == "model"
        brain.assert_script_used()


async def test_a_sleeping_service_is_woken_only_when_asked(diagnose: Diagnose) -> None:
    async with SimulatedCloud(load_scenario("scaled-to-zero")) as cloud:
        await diagnose(cloud, request=DiagnoseRequest(rules_only=True, wake=True))
        assert cloud.woken


async def test_the_missing_permission_and_its_role_are_a_gap(diagnose: Diagnose) -> None:
    async with SimulatedCloud(load_scenario("logs-forbidden")) as cloud:
        gaps = " ".join((await diagnose(cloud)).report["gaps"])
    assert "logging.logEntries.list" in gaps
    assert "roles/logging.viewer" in gaps


async def test_the_change_that_broke_it_is_shown(diagnose: Diagnose) -> None:
    async with SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud:
        changes = (await diagnose(cloud)).report["changes"]
    assert any("linear-backend" in c["what"] and "cutlass" in c["to"] for c in changes)
    assert all(set(c) == {"what", "from", "to", "time"} for c in changes)


async def test_hypotheses_of_the_model_stay_apart(diagnose: Diagnose) -> None:
    note = {
        "reply": {
            "tool_calls": [
                {
                    "name": "note_hypothesis",
                    "arguments": {"title": "Cosmic rays", "why": "it is certain"},
                }
            ]
        }
    }
    thinker = load_scenario("healthy").with_chat([note, ANSWER])
    async with (
        SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud,
        SimulatedCloud(thinker) as brain,
    ):
        diagnosed = await diagnose(cloud, brain=brain)
        check(diagnosed, "int4-kernel-l4")
        brain.assert_script_used()
    assert [h["title"] for h in diagnosed.report["hypotheses"]] == ["Cosmic rays"]
    assert diagnosed.report["stats"]["model_calls"] == 2
