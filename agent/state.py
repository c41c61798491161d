"""The state that the graph checkpoints: plain dictionaries, compacted, nothing that can't be JSON.

LangGraph evaluates the hints of this class at run time, so they are not postponed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from agent.capabilities import Servers
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
    asked_again: str
    offered: list[str]
    outputs: list[str]
    seen_calls: list[str]
    repeats: int
    idle: int
    evidence: int
    closed: str
    compactions: int
    hypotheses: list[dict[str, str]]
    brain: dict[str, str]
    complaints: int
    steps: int
    model_calls: int
    prompt_tokens: int
    answer: str
    author: Literal["model", "rules"]
    struck: int


@dataclass(slots=True)
class TurnContext:
    """What a turn uses and never checkpoints: clients, files, the way to the screen."""

    settings: Settings
    memory: Memory
    catalog: Catalog
    emit: Callable[[Event], None]
    started: float
    look: Look | None = None
    interactive: bool = False  # whether there is a person to ask before something changes
    calls: int = field(default=0)
    # What a session keeps from turn to turn: see agent.reach, agent.capabilities and
    # agent.attachments.
    reached: Any = None
    servers: Servers = field(default_factory=Servers)
    attachments: tuple[Any, ...] = ()
    # How much had been seen when it was last judged: nothing new, nothing to judge again.
    judged: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return the named facts that were seen of the target, by a look or a light one."""
        if self.look is not None:
            return {n: v for o in self.look.observations for n, v in o.facts.items()}
        return dict(self.reached.facts) if self.reached is not None else {}

    def kind(self) -> str:
        """Return the kind of the target, as far as it is known."""
        if self.look is not None:
            return self.look.target.kind
        if self.reached is not None and self.reached.target is not None:
            return str(self.reached.target.kind)
        return "cloud-run" if self.settings.kind == "auto" else self.settings.kind
