"""A simulated endpoint of known capacity in a process of its own, for `bench … --demo`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from tools.config import EndpointConfig
from tools.domain import Target
from tools.load.processes import child_environment
from tools.measure.reach import Reached

CAPACITY, PREFILL, TOKEN = 16, 0.05, 0.005  # requests at once, seconds, seconds


@contextlib.asynccontextmanager
async def simulated_endpoint() -> AsyncIterator[Reached]:
    """Serve a queue of 16 places: 50 ms to the first token, then 5 ms for each."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tools.load.stub_main",
        f"--capacity={CAPACITY}",
        f"--first={PREFILL}",
        f"--gap={TOKEN}",
        "--no-times",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        url = (await process.stdout.readline()).decode().strip()
        yield Reached(
            EndpointConfig(url=url, found_by="--demo"),
            None,
            Target("local", url=url, found_by="--demo"),
        )
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
