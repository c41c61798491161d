"""Run the simulated endpoint in a process of its own: ``python -m tools.load.stub_main``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys

from tools.load.event_loop import loop_factory
from tools.load.stub import Behaviour, SimulatedEndpoint
from tools.load.stub_service import Queue, Timetable


async def serve(behaviour: Behaviour) -> None:
    """Say the URL on stdout and serve until stdin closes."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look() -> None:
        if not os.read(0, 4096):
            over.set()

    async with SimulatedEndpoint(behaviour) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        with contextlib.suppress(OSError):  # stdin is a file: then only a signal ends this
            loop.add_reader(0, look)
        await over.wait()


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m tools.load.stub_main", description=__doc__)
    parser.add_argument("--first", type=float, default=0.0, help="seconds to the first chunk")
    parser.add_argument("--gap", type=float, default=0.0, help="seconds between chunks")
    parser.add_argument("--capacity", type=int, default=0, help="a queue with so many servers")
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--cpu", type=int, default=-1, help="stay on this core (Linux)")
    parser.add_argument("--no-times", action="store_true", help="do not note what was sent when")
    args = parser.parse_args()
    if args.cpu >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.cpu})
    service: Queue | Timetable = Timetable(args.first, args.gap)
    if args.capacity:
        service = Queue(args.capacity, args.first, args.gap)
    behaviour = Behaviour(
        service=service, max_model_len=args.max_model_len, note_times=not args.no_times
    )
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        runner.run(serve(behaviour))
    return 0


if __name__ == "__main__":
    sys.exit(main())
