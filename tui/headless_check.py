"""The set-up checked point by point: what works, what does not, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from dataclasses import asdict, dataclass
from typing import Any

from tui.crash import watch_loop
from tui.headless_report import render_json
from tui.headless_text import wrap
from tui.plain import glyph, one_line, write
from tui.report import SIMULATED
from tui.running import settings_of

# What a name that was asked of a real project turned out to be, as a state.
NAME_STATES = {"confirmed": "ok", "not seen": "skipped", "unknown": "failed"}


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the check, as it is shown."""

    name: str
    state: str  # ok, failed or skipped
    detail: str = ""
    fix: str = ""


def check(args: argparse.Namespace) -> int:
    """Print each point as it is checked; return 0 when none failed, else 2."""
    return asyncio.run(_check(args))


async def _check(args: argparse.Namespace) -> int:
    from agent.check import run_checks

    watch_loop()
    points: list[Point] = []
    async with contextlib.AsyncExitStack() as stack:
        settings = settings_of(args)
        if args.demo:
            from agent.demo import open_demo

            settings = await stack.enter_async_context(open_demo(args.demo, settings))
            if not args.json:
                write(f"{SIMULATED}: {one_line(args.demo)}\n\n")
        async for found in run_checks(settings, live=args.live):
            points.append(point_of(found))
            if not args.json:
                write(show(points[-1]))
                sys.stdout.flush()
    failed = sum(point.state == "failed" for point in points)
    if args.json:
        head = {"ok": not failed, "simulated": bool(args.demo)}
        write(render_json({**head, "checks": [asdict(point) for point in points]}))
    else:
        write(f"\n{failed} of {len(points)} points failed.\n" if failed else "\nAll is well.\n")
    return 2 if failed else 0


def point_of(found: Any) -> Point:
    """Return a check of the access, or of a name, in its one form."""
    ok = getattr(found, "ok", None)
    state = NAME_STATES.get(getattr(found, "state", ""), "failed")
    if ok is not None:
        state = "ok" if ok else "failed"
    name = f"{found.kind} {found.name}" if hasattr(found, "kind") else str(found.name)
    role = getattr(found, "role", "")
    fix = f"Grant {role}." if role and state == "failed" else ""
    return Point(name, state, str(found.detail), fix)


def show(point: Point) -> str:
    """Return one point as lines of at most 80 columns."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    head = f"{glyph(point.state, encoding)} {point.state:<7} {one_line(point.name)}"
    detail = f": {one_line(point.detail)}" if point.detail else ""
    lines = wrap(head + detail, "            ", "")
    if point.fix:
        lines += wrap(f"→ {one_line(point.fix)}", "            ", "          ")
    return "\n".join(lines) + "\n"
