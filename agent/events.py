"""What a turn emits: the whole contract between the agent and any front end.

Standard library only, so that a front end can be tested with nothing else. Texts come from
models, logs and tools: a front end must show them as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began; ``resumed`` when it continues one that was cut off."""

    turn: str
    session: str
    question: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The graph entered a node; ``detail`` is for a status line."""

    phase: Literal["probe", "match", "reason", "gate", "act", "verdict", "record"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A probe or tool began."""

    call: str
    name: str
    target: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A probe or tool ended; ``summary`` is one line, ``content`` the whole output."""

    call: str
    name: str
    state: Literal["ok", "failed", "skipped", "cancelled"]
    seconds: float
    summary: str = ""
    content: str = ""
    evidence: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's thinking; shown folded, never stored as an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of the answer, Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The whole answer, which replaces what was streamed; ``author`` says who wrote it.

    ``struck`` counts the statements of the model that the evidence does not support; they stand
    in the text, struck through.
    """

    text: str
    author: Literal["model", "rules"]
    struck: int = 0


@dataclass(frozen=True, slots=True)
class Stalled:
    """Nothing came for ``seconds``; the turn goes on."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BrainChanged:
    """Who answers from here on, and why."""

    mode: Literal["model", "rules"]
    why: str


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is known of the endpoint now, for the status line; ``window`` in tokens."""

    state: str
    model: str = ""
    url: str = ""
    window: int = 0
    used: int = 0
    found_by: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """The turn waits for a person; ``calls`` are shown whole, one approval for the batch.

    Each call has ``call`` (its id), ``tool``, ``arguments``, ``effect``, ``target``, ``does``,
    ``before``, ``after``, ``cost`` (empty: not known), ``blast_radius``, ``undo``, ``confirm``
    (what must be typed, empty unless it destroys), ``again`` (why it is asked once more) and
    ``hash``. ``expires`` is a time in ISO 8601. No TurnFinished follows: the turn goes on when
    it is answered.
    """

    approval: str
    calls: Sequence[Mapping[str, Any]]
    expires: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's answer to one call that was asked for; ``typed`` is the name of a DESTROY.

    Not an event: it goes the other way, to ``Session.approve``.
    """

    approved: bool
    reason: str = ""
    typed: str = ""


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """The verdict; ``report`` is the object of ``diagnose --json``."""

    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ended without an answer; ``message`` says why and what to do next."""

    message: str
    exit_code: int = 2


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is over, whichever way."""

    turn: str
    seconds: float
    cancelled: bool = False


Event = (
    TurnStarted
    | PhaseChanged
    | ToolStarted
    | ToolFinished
    | ReasoningDelta
    | AnswerDelta
    | AnswerFinished
    | Stalled
    | BrainChanged
    | EndpointState
    | ApprovalAsked
    | VerdictReached
    | TurnFailed
    | TurnFinished
)
