"""What is sent when the model talks too much: window by scenario, requests, sizes, compactions.

    python benchmarks/window_table.py [--json]

Every shipped scenario is diagnosed with a scripted model on a server of each window. The model
writes much, looks at something else in every step and answers in the sixth. The server counts as
vLLM does and refuses what is too long: such a refusal is an overflow, and there must be none.
Compaction is deterministic, so no request should be made beside the steps themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

WINDOWS = (4096, 8192, 16384)
STEPS = 5


def talkative() -> list[dict[str, Any]]:
    """Return the script of a model that says and asks too much."""
    chat: list[dict[str, Any]] = []
    for step in range(STEPS):
        calls = [
            {"name": "read_logs", "arguments": {"minutes": 60 + step, "limit": 200 + step}},
            {"name": "list_revisions", "arguments": {"limit": 1 + step}},
            {"name": "note_hypothesis", "arguments": {"title": f"Idea {step}", "why": "hm " * 90}},
        ]
        prose = f"Step {step}: before I answer I should look further. " * 40
        chat.append({"reply": {"content": prose, "tool_calls": calls}})
    return [*chat, {"reply": {"content": "The rules are right [E1]."}}]


async def row(name: str, window: int, state: Path) -> dict[str, Any]:
    """Diagnose one scenario at one window and return what was sent."""
    from agent import reasoning
    from agent.demo import demo_settings
    from agent.events import VerdictReached
    from agent.session import DiagnoseRequest, Session
    from agent.settings import Settings, StandIn
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    compactions: list[int] = []
    prompts: list[int] = []
    thought = reasoning._Step._thought

    def counted(step: Any, reply: Any) -> Any:
        compactions.append(step.compactions)
        prompts.append(reply.prompt_tokens)
        return thought(step, reply)

    reasoning._Step._thought = counted  # type: ignore[method-assign]
    thinker = load_scenario("healthy").with_chat(talkative()).with_endpoint(max_model_len=window)
    try:
        async with SimulatedCloud(load_scenario(name)) as cloud, SimulatedCloud(thinker) as brain:
            place = StandIn(base_url=brain.base_url, model=brain.model, consent=True, first=True)
            settings = demo_settings(cloud, Settings.load(state=state))
            session = await Session.open(settings.model_copy(update={"stand_in": place}))
            try:
                events = [e async for e in session.diagnose(DiagnoseRequest(record=False))]
            finally:
                await session.close()
            asked = brain.calls_to("http:/v1/chat/completions")
    finally:
        reasoning._Step._thought = thought  # type: ignore[method-assign]
    (report,) = (event.report for event in events if isinstance(event, VerdictReached))
    return {
        "window": window,
        "scenario": name,
        "requests": len(asked),
        "largest": max(prompts, default=0),
        "overflows": sum(call.status == "400" for call in asked),
        "compactions": sum(compactions),
        # Requests that were no step of the diagnosis: a model-made compaction would be one.
        "beside_steps": round(1 - len(prompts) / max(1, len(asked)), 2),
        "answered_by": report["brain"]["mode"],
        "verdict": report["verdict"],
    }


async def table() -> list[dict[str, Any]]:
    """Return every row."""
    from tools.simulator.scenario import shipped_scenarios

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for window in WINDOWS:
            for info in shipped_scenarios():
                state = Path(folder) / f"{window}-{info.name}.db"
                rows.append(await row(info.name, window, state))
    return rows


def main() -> int:
    """Print the table; 1 when a request overflowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = asyncio.run(table())
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        form = "{:>6} {:26} {:>8} {:>8} {:>9} {:>11} {:>6} {:>8} {}"
        print(form.format("window", "scenario", "requests", "largest", "overflows", "compactions",
                          "beside", "by", "verdict"))  # fmt: skip
        for one in rows:
            print(form.format(*(str(value) for value in one.values())))
    return int(any(one["overflows"] for one in rows))


if __name__ == "__main__":
    raise SystemExit(main())
