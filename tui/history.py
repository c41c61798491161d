"""The turns of an earlier session, to be shown when it goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from textual.widget import Widget

from tui.widgets.answer import FrozenAnswer
from tui.widgets.notes import Notice, Question
from tui.widgets.verdict_card import VerdictCard

TURNS_SHOWN = 50


def read_turns(state: Path, session: str) -> list[dict[str, Any]]:
    """Return the newest turns of a session, oldest first."""
    from agent.memory import Memory

    with contextlib.closing(Memory.open(state)) as memory:
        return memory.turns(session, TURNS_SHOWN)


def widgets_of(turn: Mapping[str, Any], *, dark: bool = True) -> Iterator[Widget]:
    """Yield what a stored turn looks like: question, verdict, answer."""
    yield Question(str(turn.get("question") or ""))
    report = _report(turn)
    if report:
        yield VerdictCard(report)
    if turn.get("answer"):
        yield FrozenAnswer(str(turn["answer"]), str(turn.get("author") or "model"), dark=dark)
    state = turn.get("state")
    if state in {"cancelled", "running"}:
        yield Notice("This turn was stopped." if state == "cancelled" else "It was cut off.")


def _report(turn: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        found = json.loads(turn.get("report") or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
