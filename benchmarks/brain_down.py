"""How long a diagnosis takes when the model's endpoint misbehaves, with the default time limits.

    python benchmarks/brain_down.py [--json] [--scenario NAME]

The simulated endpoint misbehaves in each way in turn; the verdict must be the same in all. The
limit beside each time is the same diagnosis with the model not asked at all (``--rules-only``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = (
    "normal",
    "refuse",
    "unavailable",
    "stall",
    "empty_reply",
    "cut_tool_call",
    "forbidden_html",
    "no_instance",
    "only_reasoning",
    "tool_call_as_text",
    "stall_stream",
    "cut_stream",
)


async def diagnose(scenario: str, way: str, state: Path, *, rules_only: bool) -> dict[str, Any]:
    from agent.demo import demo_settings
    from agent.events import VerdictReached
    from agent.session import DiagnoseRequest, Session
    from agent.settings import Settings
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    async with SimulatedCloud(load_scenario(scenario)) as cloud:
        cloud.behave(way)
        session = await Session.open(demo_settings(cloud, Settings.load(state=state)))
        started = time.perf_counter()
        try:
            request = DiagnoseRequest(rules_only=rules_only, record=False)
            events = [event async for event in session.diagnose(request)]
        finally:
            await session.close()
    seconds = time.perf_counter() - started
    (report,) = (event.report for event in events if isinstance(event, VerdictReached))
    return {
        "way": way,
        "verdict": report["verdict"],
        "causes": [cause["id"] for cause in report["causes"]],
        "brain": report["brain"]["mode"],
        "why": report["brain"]["why"],
        "seconds": round(seconds, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scenario", default="int4-kernel-l4")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.db"
        # The first run of a process pays for the imports; it is not counted.
        asyncio.run(diagnose(args.scenario, "normal", state, rules_only=True))
        limit = asyncio.run(diagnose(args.scenario, "normal", state, rules_only=True))
        rows = [asyncio.run(diagnose(args.scenario, w, state, rules_only=False)) for w in WAYS]
    same = {(row["verdict"], *row["causes"]) for row in rows}
    if args.json:
        print(json.dumps({"rules_only_seconds": limit["seconds"], "rows": rows}, indent=1))
    else:
        print(f"{'endpoint':18} {'verdict':10} {'brain':6} {'s':>6}  why")
        print(f"{'(not asked)':18} {limit['verdict']:10} {'rules':6} {limit['seconds']:6.2f}")
        for row in rows:
            print(
                f"{row['way']:18} {row['verdict']:10} {row['brain']:6} {row['seconds']:6.2f}"
                f"  {row['why'][:70]}"
            )
    return 0 if len(same) == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
