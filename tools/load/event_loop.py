"""The event loop of a load client: uvloop where it installs, asyncio's own otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def loop_name() -> str:
    """Return which event loop a load client runs on."""
    return "uvloop" if find_spec("uvloop") else "asyncio"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the fastest event loop that is installed."""
    if loop_name() == "uvloop":
        factory: Callable[[], asyncio.AbstractEventLoop]
        factory = import_module("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop
