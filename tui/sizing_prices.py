"""``prices refresh``: read the prices again from Google's catalogue, beside state.db."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import TYPE_CHECKING

from tui.plain import clean, write

if TYPE_CHECKING:
    from tools.sizing.refresh import Refreshed


def run_refresh(args: argparse.Namespace) -> int:
    """Print each price that was read, with what it was before."""
    found = asyncio.run(_refresh(args.region, demo=args.demo))
    if args.json:
        import json

        write(json.dumps(found.to_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        write("".join(clean(line) + "\n" for line in refresh_lines(found)))
    return 0


def refresh_now() -> str:
    """Read the prices again and return what came of it, in a sentence."""
    return _said(asyncio.run(_refresh("", demo=False)))


def refresh_lines(found: Refreshed) -> list[str]:
    """Return a refresh as lines."""
    lines = [str(price) for price in found.prices]
    if found.missing:
        lines += ["", "Not in the catalogue; what was known stays in use:"]
        lines += [f"  {one}" for one in found.missing]
    return [*lines, "", _said(found)]


def _said(found: Refreshed) -> str:
    kept = f"kept in {found.file}" if found.file else "simulated, so nothing was kept"
    return f"{len(found.prices)} prices of {found.read} from {found.skus} SKUs; {kept}."


async def _refresh(region: str, *, demo: bool) -> Refreshed:
    from tools.config import CloudConfig
    from tools.sizing.refresh import refresh

    async with contextlib.AsyncExitStack() as stack:
        url = ""
        config = CloudConfig()
        if demo:
            from tools.simulator.billing_server import SimulatedBilling
            from tools.simulator.clock import SimulatedClock

            clock = SimulatedClock(config.now(), running=False)
            url = (await stack.enter_async_context(SimulatedBilling(clock))).url
        return await refresh(config, region=region, url=url, keep=not demo)
