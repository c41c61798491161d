"""What the sizing commands ask of a running service: its newest start, and what it says now."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import TYPE_CHECKING

from tools.errors import StateError, UsageError
from tui.running import settings_of

if TYPE_CHECKING:
    from agent.settings import Settings
    from tools.sizing.live import Running
    from tools.sizing.starts import ObservedStart


def running_service(
    args: argparse.Namespace, *, ask_endpoint: bool = True
) -> tuple[Running, tuple[ObservedStart, ...]]:
    """Return what was found of ``args.service``, and its starts that state.db knows.

    The starts that were found are kept there. Raises UsageError when no service is named and
    none is found, a CloudError when nothing at all could be read.
    """
    return asyncio.run(_running_service(args, ask_endpoint=ask_endpoint))


async def _running_service(
    args: argparse.Namespace, *, ask_endpoint: bool
) -> tuple[Running, tuple[ObservedStart, ...]]:
    from agent.gather import discover_target
    from tools.sizing.live import look

    # `model` is the one to size here, and the endpoint's name elsewhere.
    where = {name: getattr(args, name, None) for name in ("project", "location", "zone")}
    settings = settings_of(argparse.Namespace(**where, base_url=args.base_url))
    async with contextlib.AsyncExitStack() as stack:
        if args.demo:
            from agent.demo import open_demo

            settings = await stack.enter_async_context(open_demo(args.demo, settings))
        target = await discover_target({"service": args.service}, settings)
        running = await look(
            target, settings.cloud_config(), settings.endpoint_config(), ask_endpoint=ask_endpoint
        )
    if not running.log and running.metrics is None:
        told = "; ".join(str(gap) for gap in running.gaps)
        raise UsageError(
            f"Nothing was found of the memory of {target.service or 'the endpoint'}: {told}.",
            fix="Give the log of a start with --boot-log FILE.",
        )
    return running, _known(settings, running)


def _known(settings: Settings, running: Running) -> tuple[ObservedStart, ...]:
    """Keep the starts that were found, and return all that are known of this service."""
    from agent.database import StateFile
    from agent.starts import Starts

    try:
        with contextlib.closing(StateFile(settings.state)) as file:
            starts = Starts(file)
            starts.keep(running.starts)
            return starts.of(running.target.service) or running.starts
    except StateError:
        # The figures do not depend on what is remembered of earlier starts.
        return running.starts
