"""How much time the client itself adds: its clock against a server that notes what it sent when.

The stub runs in a process of its own and both read the same monotonic clock of the machine, so
the difference of an arrival and its sending is the client's error, the kernel's part included.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass
from typing import Any

from tools.config import EndpointConfig
from tools.errors import EndpointNonsense
from tools.load.cell import CellPlan, CellRun
from tools.load.client import Patience
from tools.load.endpoint import load_target
from tools.load.processes import ClientProcesses, child_environment
from tools.load.prompts import RequestShape, UniquePrompts, shipped_words
from tools.load.slots import split_slots
from tools.load.statistics import Distribution, describe
from tools.vllm.answers import endpoint_client

WORDS = 8


@dataclass(frozen=True, slots=True)
class TimingError:
    """The client's error in milliseconds, at so many streams.

    ``ttft`` is from the sending of a request's first chunk to the time that the client notes for
    it, ``chunk`` the same of every chunk, ``gap`` the absolute error of the time between two
    chunks of a request.
    """

    streams: int
    ttft: Distribution
    chunk: Distribution
    gap: Distribution
    client_cpu: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


async def calibrate(
    streams: int,
    *,
    first: float = 0.1,
    gap: float = 0.05,
    chunks: int = 16,
    seconds: float = 2.0,
) -> TimingError:
    """Measure the client against the timed stub; takes about ``seconds`` and a start-up.

    Raises EndpointNonsense when the stub and the client do not tell of the same requests.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tools.load.stub_main",
        f"--first={first}",
        f"--gap={gap}",
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        url = (await process.stdout.readline()).decode().strip()
        config = EndpointConfig(url=url)
        shape = RequestShape("stub", chunks)
        prompts = UniquePrompts(shipped_words(), WORDS, "calibration", shape)
        told = {
            "shape": asdict(shape),
            "seed": "calibration",
            "vocabulary": shipped_words(),
            "words": WORDS,
        }
        plan = CellPlan(
            slots=streams, window=seconds, warmup=first + gap * chunks, patience=Patience(stall=5)
        )
        async with ClientProcesses(len(split_slots(streams))) as clients:
            run = await clients.run(load_target(config), told, plan)
        async with endpoint_client(config) as client:
            answer = await client.get("/timings", timeout=30)
            timings = answer.json()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return compare_times(run, timings, prompts, streams)


def compare_times(
    run: CellRun, timings: dict[str, Any], prompts: UniquePrompts, streams: int
) -> TimingError:
    """Return the error of a run against the times that the stub noted (monotonic ns)."""
    import numpy as np

    ttft, late, gaps = [], [], []
    for record in run.records:
        key = prompts.text(record.index).decode()[:80]
        sent = timings["sent"].get(key, [])
        if record.scheduled < run.start or not sent or len(sent) != len(record.chunks):
            continue
        arrived = np.asarray(record.chunks)
        true = np.asarray(sent)
        late.append((arrived - true) / 1e6)
        gaps.append(np.abs(np.diff(arrived) - np.diff(true)) / 1e6)
        ttft.append((record.first_content - sent[0]) / 1e6)
    measured = describe(np.asarray(ttft))
    chunk = describe(np.concatenate(late)) if late else None
    gap = describe(np.concatenate(gaps)) if gaps else None
    if measured is None or chunk is None or gap is None:
        raise EndpointNonsense("The calibration has no request that the timed stub knows too.")
    return TimingError(streams, measured, chunk, gap, run.cpu)
