"""The agent's own time per step, and what a long session takes of memory and disk.

    python benchmarks/agent_overhead.py [--json] [--turns 1000]

A step begins when the model's reply is there and ends when the next request is made, or when the
turn has been recorded: repair, gate, tool, checkpoint, compaction, prompt. The model answers at
once from a script and the tool needs no cloud, so that what is measured is the agent alone. Forty
diagnoses of five steps make a session of 200. The long session asks questions whose answers have
2 kB; its memory is the most at any time over that after its second turn, when all is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

DIAGNOSES, STEPS = 40, 5
P95_LIMIT_MS, MEMORY_LIMIT_MB, CHECKPOINT_LIMIT_MB = 30.0, 80.0, 50.0


class ScriptedBrain:
    """Notes a hypothesis in each step and answers in the last one, without any network."""

    def __init__(self, steps: int, answer: str) -> None:
        self.steps, self.answer = steps, answer
        self.step = 0
        self.left: float | None = None
        self.gaps: list[float] = []
        self.used = 0.0
        self.cpu: list[float] = []

    def settle(self) -> None:
        """Count the time since the last reply as one step."""
        if self.left is not None:
            self.gaps.append(time.perf_counter() - self.left)
            self.cpu.append(time.process_time() - self.used)
        self.left = None

    async def reply(self, messages: Any, tools: Any, **options: Any) -> Any:
        """Return the next reply of the script."""
        from agent.messages import Call, Reply

        del messages, tools, options
        self.settle()
        self.step += 1
        if self.step % self.steps:
            arguments = {"title": f"Idea {self.step}", "why": "seen [E1] " * 20, "against": "none"}
            reply = Reply("Next.", "", (Call("", "note_hypothesis", arguments),), "tool_calls")
        else:
            reply = Reply(self.answer, "", (), "stop")
        self.left, self.used = time.perf_counter(), time.process_time()
        return reply

    async def count(self, *_: Any, **__: Any) -> int | None:
        """Count nothing, as a server without /tokenize."""
        return None

    async def close(self) -> None:
        """Have nothing to close."""


def megabytes() -> float:
    """Return the resident memory of this process in MB (10**6 bytes)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(turns: int) -> dict[str, Any]:
    """Return the figures of both sessions."""
    from agent.capabilities import Server
    from agent.demo import demo_settings
    from agent.events import AnswerFinished
    from agent.session import DiagnoseRequest, Session, checkpoints_path
    from agent.settings import Settings
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    brain = ScriptedBrain(1, "A plain sentence of some words. " * 64)
    Server.brain = lambda _: brain  # type: ignore[assignment,method-assign,return-value]
    with tempfile.TemporaryDirectory() as folder:
        async with SimulatedCloud(load_scenario("healthy")) as cloud:
            settings = demo_settings(cloud, Settings.load(state=Path(folder) / "state.db"))
            checkpoints = checkpoints_path(settings.state)
            session = await Session.open(settings)
            base, most, largest = 0.0, 0.0, 0
            for number in range(turns):
                events = [e async for e in session.ask(f"question {number}: hello?")]
                answered = [e for e in events if isinstance(e, AnswerFinished)]
                assert answered[0].text.startswith("A plain sentence"), answered
                if number == 1:
                    base = megabytes()
                if number % 25 == 0:
                    most = max(most, megabytes())
                largest = max(largest, _size(checkpoints))
            assert len(session.memory.turns(session.id, turns + 1)) == turns
            await session.close()

            brain = ScriptedBrain(STEPS, "The rules are right [E1].")
            session = await Session.open(settings)
            for number in range(DIAGNOSES + 1):
                if number == 1:
                    brain.gaps.clear()  # the first pays for the imports
                    brain.cpu.clear()
                async for _ in session.diagnose(DiagnoseRequest(record=False)):
                    pass
                brain.settle()
                largest = max(largest, _size(checkpoints))
            gaps = sorted(gap * 1e3 for gap in brain.gaps)
            cpu = sorted(used * 1e3 for used in brain.cpu)
            await session.close()
    return {
        "steps": len(gaps),
        "median_ms": round(statistics.median(gaps), 2),
        "p95_ms": round(gaps[int(len(gaps) * 0.95)], 2),
        "most_ms": round(gaps[-1], 2),
        "cpu_median_ms": round(statistics.median(cpu), 2),
        "cpu_p95_ms": round(cpu[int(len(cpu) * 0.95)], 2),
        "load": round(os.getloadavg()[0], 1),
        "turns": turns,
        "memory_mb": round(most - base, 1),
        "checkpoints_mb": round(largest / 1e6, 2),
    }


def _size(path: Path) -> int:
    beside = path.parent.glob(path.name + "*")
    return sum(file.stat().st_size for file in beside if file.exists())


def main() -> int:
    """Measure, print, and return 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=1000)
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.turns))
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            f"own time per step, {found['steps']} steps: median {found['median_ms']} ms,"
            f" p95 {found['p95_ms']} ms (limit {P95_LIMIT_MS:g}), most {found['most_ms']} ms;"
            f" of it processor median {found['cpu_median_ms']} ms, p95 {found['cpu_p95_ms']} ms;"
            f" load of the machine {found['load']}"
        )
        print(
            f"{found['turns']} turns: {found['memory_mb']} MB more memory"
            f" (limit {MEMORY_LIMIT_MB:g}), checkpoints {found['checkpoints_mb']} MB"
            f" (limit {CHECKPOINT_LIMIT_MB:g})"
        )
    return int(
        found["p95_ms"] > P95_LIMIT_MS
        or found["memory_mb"] > MEMORY_LIMIT_MB
        or found["checkpoints_mb"] > CHECKPOINT_LIMIT_MB
    )


if __name__ == "__main__":
    raise SystemExit(main())
