"""The state that the graph checkpoints: plain dictionaries, compacted, nothing that can't be JSON.

LangGraph evaluates the hints of this class at run time, so they are not postponed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from agent.events import Event
from agent.look import Look
from agent.memory import Memory
from agent.messages import Message
from agent.settings import Settings
from runbooks.catalog import Catalog

TurnKind = Literal["diagnose", "ask"]


class TurnState(TypedDict, total=False):
    """One turn. ``messages`` is the window; whole tool output lies in state.db."""

    turn: str
    session: str
    kind: TurnKind
    question: str
    request: dict[str, Any]
    report: dict[str, Any]
    messages: list[Message]
    pending: list[dict[str, Any]]
    seen_calls: list[str]
    hypotheses: list[dict[str, str]]
    brain: dict[str, str]
    complaints: int
    steps: int
    model_calls: int
    prompt_tokens: int
    answer: str
    author: Literal["model", "rules"]


@dataclass(slots=True)
class TurnContext:
    """What a turn uses and never checkpoints: clients, files, the way to the screen."""

    settings: Settings
    memory: Memory
    catalog: Catalog
    emit: Callable[[Event], None]
    started: float
    look: Look | None = None
    calls: int = field(default=0)
