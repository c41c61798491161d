"""Models that are wrong in five ways, through the graph: what the user sees, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.events import AnswerFinished
from agent.session import Session
from agent.verdict import EXIT_CODES
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, load_scenario

Diagnose = Callable[..., Awaitable[Any]]
STRUCK = re.compile(r"~~(.*?)~~", re.DOTALL)


def two_failures() -> Scenario:
    """Return the int4 failure beside an instance that runs out of memory: two true causes."""
    base = load_scenario("int4-kernel-l4")
    other = [
        {**row, "instance": "i2", "revision": "gemma-4-12b-00011-2nn"}
        for row in load_scenario("oom-31b-l4").logs
        if row.get("instance") == "i1"
    ]
    return replace(base, logs=(*base.logs, *other))


BOTH = ["load-peak-oom", "wna16-no-kernel"]
FIVE = [
    (
        "a confident false cause",
        "int4-kernel-l4",
        "The root cause is without any doubt an expired TLS certificate of the metrics proxy [E1].",
        ["The root cause is without any doubt an expired TLS certificate"],
        ["no runbook's rule supports this cause", "No kernel can run the int4 weights"],
    ),
    (
        "evidence that does not exist",
        "int4-kernel-l4",
        'As E77 says, "the kernel registry is empty".',
        ["As E77 says"],
        ["there is no evidence E77", "No kernel can run the int4 weights"],
    ),
    (
        "true evidence for a false cause",
        "int4-kernel-l4",
        "Postgres ran out of connections, which E1 proves:"
        ' "Failed to find a kernel that can implement the WNA16 linear layer".',
        ["Postgres ran out of connections"],
        ["E1 does not speak of it", "No kernel can run the int4 weights"],
    ),
    (
        "a changed number",
        "int4-kernel-l4",
        "No kernel fits this card [E1]. The kernel requires capability 95 [E2].",
        ["The kernel requires capability 95 [E2]."],
        ["No kernel fits this card [E1].", "95 does not stand in E2"],
    ),
    (
        "one of two causes",
        "two",
        "The card ran out of memory while the weights were loaded: CUDA out of memory [E1].",
        [],
        ["No kernel can run the int4 weights", "found this cause too; the model did not name it"],
    ),
]


@pytest.mark.parametrize(
    ("scenario", "said", "struck", "seen"), [row[1:] for row in FIVE], ids=[row[0] for row in FIVE]
)
async def test_show_three_end_to_end(
    diagnose: Diagnose, scenario: str, said: str, struck: list[str], seen: list[str]
) -> None:
    cloud_of = two_failures() if scenario == "two" else load_scenario(scenario)
    thinker = load_scenario("healthy").with_chat([{"reply": {"content": said}}])
    async with SimulatedCloud(cloud_of) as cloud, SimulatedCloud(thinker) as brain:
        diagnosed = await diagnose(cloud, brain=brain)
        brain.assert_script_used()
    report = diagnosed.report
    assert sorted(c["id"] for c in report["causes"]) == (
        BOTH if scenario == "two" else ["wna16-no-kernel"]
    )
    assert (report["verdict"], EXIT_CODES[report["verdict"]]) == ("confirmed", 1)
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    gone = " ".join(STRUCK.findall(answer.text))
    assert [words for words in struck if words not in gone] == []
    assert [words for words in seen if words not in STRUCK.sub("", answer.text)] == []
    assert answer.struck == report["stats"]["struck"] == len(struck)


async def test_a_struck_answer_is_what_is_stored(diagnose: Diagnose, settings: Any) -> None:
    said = "No kernel fits this card [E1]. Run `kubectl delete namespace prod` now."
    thinker = load_scenario("healthy").with_chat([{"reply": {"content": said}}])
    async with (
        SimulatedCloud(load_scenario("int4-kernel-l4")) as cloud,
        SimulatedCloud(thinker) as brain,
    ):
        diagnosed = await diagnose(cloud, brain=brain)
    (answer,) = (e for e in diagnosed.events if isinstance(e, AnswerFinished))
    session = await Session.open(settings)
    try:
        (stored,) = session.memory.db.execute("SELECT answer FROM turns").fetchall()
    finally:
        await session.close()
    assert stored == (answer.text,)
    assert "~~Run 'kubectl delete namespace prod' now.~~" in answer.text
