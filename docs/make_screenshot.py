"""Make ``docs/chat.svg``: the real program, on the simulated cloud, photographed by itself.

    python docs/make_screenshot.py [--demo NAME] [--size 100x40] [--theme NAME] [--out FILE]

A scenario has its own clock and seed, so the picture changes only when the program does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0


async def photograph(demo: str, size: tuple[int, int], theme: str) -> str:
    """Diagnose a scenario in the chat and return what the screen shows, as SVG.

    Raises TimeoutError when no verdict comes.
    """
    from agent.settings import Settings
    from tui.app import ChatApp
    from tui.running import Opened, open_session
    from tui.widgets.verdict_card import VerdictCard

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Opened]:
        async with open_session(Settings.load(), demo=demo) as opened:
            yield opened

    app = ChatApp(connect, first="/diagnose")
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        async with asyncio.timeout(PATIENCE_S):
            while not app.chat.query(VerdictCard) or app.chat.turns.current is not None:
                await pilot.pause(0.1)
        await pilot.pause(0.3)
        picture = app.export_screenshot(title="gemma-sre")
        await app.action_quit()
        await pilot.pause(0.5)
    return picture


def main() -> int:
    """Read the arguments and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", default="int4-kernel-l4")
    parser.add_argument("--size", default="100x42", help="columns x rows")
    parser.add_argument("--theme", default="gemma-dark")
    parser.add_argument("--out", type=Path, default=HERE / "chat.svg")
    args = parser.parse_args()
    columns, rows = (int(part) for part in args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GEMMA_SRE_STATE"] = str(Path(folder) / "state.db")
        os.environ["GEMMA_SRE_CONFIG"] = str(Path(folder) / "config.toml")
        picture = asyncio.run(photograph(args.demo, (columns, rows), args.theme))
    args.out.write_text(picture, encoding="utf-8")
    sys.stdout.write(f"{args.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
