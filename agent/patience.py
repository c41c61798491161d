"""Waiting for a server: retries with back-off, and a count-down while an endpoint starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.events import PhaseChanged
from agent.messages import BrainDown
from agent.reach import Reached, reach, start_phase
from agent.state import TurnContext, TurnState

T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0  # seconds
# A hiccup of a server that answers: no more than this is waited for it.
HICCUP = 3.0


async def with_retries(ask: Callable[[], Awaitable[T]], budget: float, context: TurnContext) -> T:
    """Ask until it works, the reason is not one that passes, or the budget (s) is used up."""
    began, delay = time.monotonic(), min(FIRST_DELAY, budget / 4)
    while True:
        try:
            return await ask()
        except BrainDown as error:
            wait = max(delay, error.after)
            left = budget - (time.monotonic() - began)
            if not error.retry or wait > left or budget <= 0:
                raise
            await count_down(f"{error}; trying again", wait, left, context)
            delay = min(delay * 2, LONGEST_DELAY)


async def await_ready(state: TurnState, context: TurnContext) -> Reached:
    """Wait for an endpoint that starts, saying how far it has got; return how it was left.

    Only a chat waits, only as long as ``limits.cold_start``, and only for a start: a revision
    that failed, or a service that sleeps, is not waited for.
    """
    budget = context.settings.limits.cold_start
    found = await reach(state, context)
    began, delay = time.monotonic(), min(FIRST_DELAY * 4, budget / 8)
    phase, phased = "", -LONGEST_DELAY
    while _starts(found) and (left := budget - (time.monotonic() - began)) > delay:
        if time.monotonic() - phased >= min(LONGEST_DELAY, budget / 4) and found.target is not None:
            phase, phased = await start_phase(found.target, context), time.monotonic()
        what = "the endpoint is starting" + (f" ({phase})" if phase else "")
        await count_down(what, delay, left, context)
        delay = min(delay * 1.5, LONGEST_DELAY)
        found = await reach(state, context, fresh=True)
    return found


async def count_down(what: str, seconds: float, left: float, context: TurnContext) -> None:
    """Sleep, saying every second how much of the patience is left."""
    until = time.monotonic() + seconds
    while (rest := until - time.monotonic()) > 0:
        shown = max(0.0, left - (seconds - rest))
        context.emit(PhaseChanged("reason", f"{what}; giving it {shown:.0f} s more"))
        await asyncio.sleep(min(1.0, rest))


def _starts(found: Reached) -> bool:
    return (
        found.facts.get("endpoint.state") == "starting"
        and found.facts.get("run.revision_ready") is not False
    )
