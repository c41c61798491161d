"""Turns of a session that wait for a person, or were cut off after one had answered."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from agent.intents import Intents
from agent.memory import Memory

State = dict[str, Any]


async def waiting_turn(
    memory: Memory, session: str, load: Callable[[], Awaitable[Any]]
) -> tuple[State, State] | None:
    """Return the state of the turn that waits for a person, and what it asks; None if none does.

    ``load`` returns the graph; it is slow, and not called when no turn is under way.
    """
    running = memory.file.rows(
        "SELECT id FROM turns WHERE session = ? AND state = 'running' ORDER BY started DESC",
        session,
    )
    for row in running:
        kept = await (await load()).aget_state(_thread(row["id"]))
        if kept.interrupts:
            return dict(kept.values), dict(kept.interrupts[0].value)
    return None


async def cut_off_turn(
    memory: Memory, session: str, load: Callable[[], Awaitable[Any]]
) -> State | None:
    """Return the newest turn that was answered and never ended, None if there is none."""
    for turn in Intents(memory).answered(session):
        kept = await (await load()).aget_state(_thread(turn))
        if kept.values:
            return dict(kept.values)
        if memory.recorded_turn(turn) is not None:  # nothing is left to do but to show it
            return {"turn": turn, **_as_asked(memory, turn)}
        memory.finish_turn(turn, "failed", answer="Its checkpoints are gone.")
    return None


async def withdraw(
    memory: Memory, session: str, turn: str, load: Callable[[], Awaitable[Any]]
) -> None:
    """End a turn that waits for a person, unless it is ``turn``: something else was asked."""
    waiting = await waiting_turn(memory, session, load)
    if waiting is None or waiting[0]["turn"] == turn:
        return
    old, asked = waiting
    intents = Intents(memory)
    intents.ask(old["turn"], session, asked)
    intents.decide(asked, "withdrawn", {})
    memory.finish_turn(old["turn"], "cancelled")
    await (await load()).checkpointer.adelete_thread(old["turn"])


def _as_asked(memory: Memory, turn: str) -> State:
    (row,) = memory.file.rows("SELECT kind, question, request FROM turns WHERE id = ?", turn)
    return {**row, "request": json.loads(row["request"])}


def _thread(turn: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": turn}}
