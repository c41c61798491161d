"""A client process: it takes cells from its parent, runs its share, and sends the records back.

Started as ``python -m tools.load.worker FD…``, with one socket for each process wanted: the first
imports everything and the others are forked from it, so that they share its memory.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from dataclasses import replace
from typing import Any

import orjson

from tools.load.cell import CellPlan, Part, run_cell
from tools.load.driver import LoopDriver
from tools.load.endpoint import LoadTarget
from tools.load.event_loop import loop_factory
from tools.load.prompts import FilePrompts, RequestShape, UniquePrompts
from tools.load.records import Outcome
from tools.load.slots import raise_file_limit

MAX_FRAME = 2**32 - 1  # bytes


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Return the next frame: JSON, and bytes behind it; raises IncompleteReadError at the end."""
    sizes = await reader.readexactly(8)
    head = await reader.readexactly(int.from_bytes(sizes[:4], "big"))
    blob = await reader.readexactly(int.from_bytes(sizes[4:], "big"))
    return orjson.loads(head), blob


def write_frame(writer: asyncio.StreamWriter, told: dict[str, Any], blob: bytes = b"") -> None:
    """Send a frame."""
    head = orjson.dumps(told)
    writer.write(len(head).to_bytes(4, "big") + len(blob).to_bytes(4, "big") + head + blob)


def make_bodies(told: dict[str, Any]) -> UniquePrompts | FilePrompts:
    """Return the prompts that the parent described."""
    shape = RequestShape(**told["shape"])
    if "messages" in told:
        return FilePrompts(told["messages"], told["seed"], shape)
    return UniquePrompts(tuple(told["vocabulary"]), told["words"], told["seed"], shape)


async def serve(sock: socket.socket) -> None:
    """Run the cells that come over the socket until it closes."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**20)
    try:
        while True:
            try:
                told, _ = await read_frame(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if told["do"] == "cell" and not await _cell(told, reader, writer):
                return
    finally:
        writer.close()


async def _cell(
    told: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    plan = CellPlan.from_json(told["plan"])
    part = Part(**told["part"])
    target = LoadTarget(**{**told["target"], "head": told["target"]["head"].encode("ascii")})
    raise_file_limit(part.slots)
    bodies = make_bodies(told["prompts"])
    write_frame(writer, {"is": "armed"})
    go: dict[str, Any] = {"do": ""}
    while go["do"] != "go":  # a late "stop" of the cell before may still come
        try:
            go, _ = await read_frame(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
    part = replace(part, start_at=go["start_at"])
    stop = asyncio.Event()
    gone = False

    async def listen() -> None:
        nonlocal gone
        try:
            while (await read_frame(reader))[0]["do"] != "received":
                stop.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            gone = True  # the parent is gone: nobody wants this load any more
            stop.set()

    def progress(driver: LoopDriver) -> None:
        outcomes = driver.records.outcome
        good = outcomes.count(Outcome.OK)
        write_frame(
            writer,
            {
                "is": "progress",
                "ended": len(outcomes),
                "failed": len(outcomes) - good,
                "in_flight": driver.in_flight,
            },
        )

    listener = asyncio.create_task(listen())
    gc.collect()
    gc.freeze()  # what stands now stays: collections in the window look at new objects only
    gc.set_threshold(50_000)  # a request leaves no cycles, so there is hardly anything to find
    run = await run_cell(target, bodies, plan, part=part, stop=stop, progress=progress)
    if not gone:
        write_frame(
            writer,
            {
                "is": "run",
                "start": run.start,
                "end": run.end,
                "cpu": run.cpu,
                "stopped": run.stopped,
                "late": run.late,
                "clock_jump": run.clock_jump,
            },
            run.records.pack(),
        )
        await writer.drain()
        # The parent acknowledges each run, so that the listener ends between two frames.
        await listener
    return not gone


def main(words: list[str]) -> int:
    """Fork a process for each further socket and serve."""
    descriptors = [int(word) for word in words]
    own = descriptors[0]
    gc.collect()
    gc.freeze()
    for other in descriptors[1:]:
        if os.fork() == 0:
            own = other
            break
    for descriptor in descriptors:
        if descriptor != own:
            os.close(descriptor)
    sock = socket.socket(fileno=own)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(sock))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
