"""Make ``state.db.example``: the database as it looks after a few diagnoses of the simulated cloud.

python docs/make_state_example.py [--out FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ("int4-kernel-l4", "int4-kernel-l4", "oom-31b-l4", "tpu-stockout")


async def diagnose(name: str, state: Path) -> None:
    """Diagnose one scenario by rules and record it."""
    from agent.demo import demo_settings
    from agent.session import DiagnoseRequest, Session
    from agent.settings import Settings
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    async with SimulatedCloud(load_scenario(name)) as cloud:
        session = await Session.open(demo_settings(cloud, Settings.load(state=state)))
        try:
            async for _ in session.diagnose(DiagnoseRequest(rules_only=True)):
                pass
        finally:
            await session.close()


def main() -> None:
    """Write the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "state.db.example")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.db"
        for name in SCENARIOS:
            asyncio.run(diagnose(name, state))
        # One file, readable from a folder that can't be written: no write-ahead log beside it.
        connection = sqlite3.connect(state)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
        connection.close()
        shutil.copyfile(state, out)


if __name__ == "__main__":
    main()
