"""A tool: what the agent may run. The signature gives the schema, the docstring the description."""

from __future__ import annotations

import hashlib
import inspect
import json
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from tools.config import CloudConfig, EndpointConfig
from tools.domain import LogRecord, Observation, Target
from tools.errors import UsageError

if TYPE_CHECKING:
    from tools.google.clients import Cloud


class Effect(StrEnum):
    """What a call does to the world; CHANGE and DESTROY need a person's approval."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


@dataclass(slots=True)
class ToolContext:
    """What code discovered and the model may not choose: where to look, and as whom."""

    target: Target
    config: CloudConfig
    endpoint: EndpointConfig
    cloud: Cloud | None = None  # None: no cloud configured, only the endpoint and files
    # The digest of the live state that a person approved; a change compares it before it acts.
    approved: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call returned: one line for the window, the whole for storage, facts as evidence."""

    summary: str
    data: Any = None
    observations: tuple[Observation, ...] = ()
    records: tuple[LogRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do, read from the live state; a person decides on it.

    ``before`` and ``after`` are JSON. ``state`` is the digest of everything that the change rests
    on: an approval holds only while it stays the same. ``confirm`` is what a person types to
    approve a DESTROY.
    """

    does: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    state: str
    blast_radius: str
    undo: str
    cost: str = ""  # the difference, empty when not known
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the live state says of a change whose result nobody saw."""

    outcome: Literal["done", "not_done", "unknown"]
    detail: str


Run = Callable[..., Awaitable[ToolResult]]
Previewer = Callable[..., Awaitable[Preview]]
Reconciler = Callable[..., Awaitable[Reconciled]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A named call with its JSON schema; ``run`` takes the context first.

    ``preview`` and ``reconcile`` belong to changes and read only. ``preview`` takes what ``run``
    takes; ``reconcile`` takes the context, what the preview called ``before``, and the arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    effect: Effect
    run: Run = field(repr=False)
    preview: Previewer | None = field(default=None, repr=False)
    reconcile: Reconciler | None = field(default=None, repr=False)

    def schema(self) -> dict[str, Any]:
        """Return the tool as the chat completions API wants it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }


def tool(
    effect: Effect, *, preview: Previewer | None = None, reconcile: Reconciler | None = None
) -> Callable[[Run], Tool]:
    """Make a tool of an async function whose first parameter is the ToolContext."""

    def wrap(run: Run) -> Tool:
        doc = inspect.getdoc(run)
        if not doc:
            raise TypeError(f"{run.__name__} has no docstring, so the model can't know its use")
        return Tool(
            name=run.__name__,
            description=" ".join(doc.split("\n\n")[0].split()),
            parameters=_parameters(run),
            effect=effect,
            run=run,
            preview=preview,
            reconcile=reconcile,
        )

    return wrap


def state_digest(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON state, independent of the order of its keys."""
    text = json.dumps(state, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with their schema's types, or say which one is wrong.

    Raises UsageError, in words that a model can act on.
    """
    properties: Mapping[str, Any] = tool.parameters["properties"]
    unknown = sorted(set(arguments) - set(properties))
    if unknown:
        known = ", ".join(properties) or "none"
        raise UsageError(f"{tool.name} has no argument {unknown[0]!r}.", fix=f"It takes: {known}.")
    for name in tool.parameters.get("required", ()):
        if name not in arguments:
            raise UsageError(f"{tool.name} needs the argument {name!r}.")
    return {
        name: _coerce(tool.name, name, value, properties[name]) for name, value in arguments.items()
    }


def _coerce(tool_name: str, name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    # Models send "5" for 5 and 5.0 for 5; what is exact in the wanted type is taken.
    wanted = schema.get("type")
    try:
        match wanted:
            case "integer" if not isinstance(value, bool):
                if float(value) != int(float(value)):
                    raise ValueError
                value = int(float(value))
            case "number" if not isinstance(value, bool):
                value = float(value)
            case "boolean" if isinstance(value, str) and value.lower() in {"true", "false"}:
                value = value.lower() == "true"
            case "string" if not isinstance(value, str):
                value = str(value)
            case "boolean" | "array" | "object":
                expected = {"boolean": bool, "array": list, "object": dict}[wanted]
                if not isinstance(value, expected):
                    raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{tool_name}: {name} must be of type {wanted}.") from error
    choices = schema.get("enum")
    if choices and value not in choices:
        raise UsageError(f"{tool_name}: {name} must be one of {', '.join(map(str, choices))}.")
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None and value < low) or (high is not None and value > high):
        raise UsageError(f"{tool_name}: {name} must be between {low} and {high}.")
    return value


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a number, for use in ``Annotated[int, Bounds(1, 100)]``."""

    low: float
    high: float


def _parameters(run: Run) -> dict[str, Any]:
    hints = get_type_hints(run, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for index, (name, parameter) in enumerate(inspect.signature(run).parameters.items()):
        if index == 0:
            continue
        properties[name] = _schema(hints[name])
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


_JSON_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _schema(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin is typing.Annotated:
        inner, *notes = get_args(hint)
        schema = _schema(inner)
        for note in notes:
            if isinstance(note, Bounds):
                schema |= {"minimum": note.low, "maximum": note.high}
            elif isinstance(note, str):
                schema["description"] = note
        return schema
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if origin in {types.UnionType, typing.Union}:
        (inner,) = (part for part in get_args(hint) if part is not type(None))
        return _schema(inner)
    if origin in {list, tuple}:
        return {"type": "array", "items": _schema(get_args(hint)[0])}
    if hint in _JSON_TYPES:
        return {"type": _JSON_TYPES[hint]}
    raise TypeError(f"a tool's parameter can't have the type {hint!r}")
