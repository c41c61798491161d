"""Mend a flawed reply: calls written as text, cut or wrong arguments, a turn that runs away.

What is mended is run as a call; what is not is told to the model; neither is ever an answer. A
call written as text that also stands in what the model was given (a log line may hold one) is a
quotation and never run, and only reads may be mended at all.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.call_syntax import find_calls, parse_object
from agent.messages import CONTROL_TEXT, Call, Reply

Schemas = Sequence[Mapping[str, Any]]

# Where a turn goes on into the next speaker's: the model talks to itself from there on.
RUNAWAY = re.compile(r"<turn\|>|<end_of_turn>|<\|?turn\|?>user|\n(?:<start_of_turn>)?user\n")
_THOUGHT = re.compile(r"<\|channel>\s*(?:thought)?\s*\n?(.*?)(?:<channel\|>|\Z)", re.DOTALL)
_NOISE = re.compile(r"(?:<pad>|<eos>|<bos>|<unused\d+>)+")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_MINUTES = {"s": 1 / 60, "m": 1, "h": 60, "d": 1440}
MAX_CALLS = 6


@dataclass(frozen=True, slots=True)
class Mended:
    """A reply after repair: usable when ``problem`` is empty. ``notes`` say what was mended."""

    reply: Reply
    problem: str = ""
    notes: tuple[str, ...] = ()


def mend(reply: Reply, tools: Schemas, given: str = "", *, prefix: str = "call") -> Mended:
    """Return the reply with everything mended that can be.

    ``tools`` are the schemas that the model was offered, ``given`` all text that it was sent.
    """
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    notes: list[str] = []
    content, reasoning = _clean(reply, notes)
    calls: list[Call] = []
    for call in reply.calls:
        calls += _mend_call(call, schemas, notes)
    if not calls:
        written, rest = find_calls(content, schemas)
        for one in written:
            if len(one.text) > 12 and one.text in given:
                return _unusable(reply, "the reply repeats a tool call that stands in a text")
            notes.append("a call written as text")
            raw = Call("", one.name, one.arguments, repaired="written as text")
            calls += _mend_call(raw, schemas, notes) if not one.cut else _cut(raw, schemas, notes)
        if written:
            content = rest
    if not schemas and calls:
        return _unusable(reply, "the reply holds a tool call, and no tool was offered")
    calls = _distinct(calls, notes)
    named = tuple(
        replace(call, id=call.id or f"{prefix}-{index}") for index, call in enumerate(calls)
    )
    if calls:
        content = "" if CONTROL_TEXT.search(content) else content
    mended = replace(reply, content=content, reasoning=reasoning, calls=named)
    problem = _judge(mended, bool(reply.content.strip()))
    return Mended(mended, problem, tuple(dict.fromkeys(notes)))


def _clean(reply: Reply, notes: list[str]) -> tuple[str, str]:
    content, reasoning = reply.content, reply.reasoning
    ran_away = RUNAWAY.search(content)
    if ran_away:
        content = content[: ran_away.start()]
        notes.append("the turn ran on into the next speaker's")
    if "<|channel>" in content:
        reasoning += "".join(_THOUGHT.findall(content))
        content = _THOUGHT.sub("", content)
        notes.append("thinking in the answer")
    elif "<channel|>" in content and "call:" not in content.partition("<channel|>")[2][:8]:
        thought, _, content = content.partition("<channel|>")
        reasoning += thought
        notes.append("thinking in the answer")
    return _NOISE.sub("", content), reasoning


def _judge(reply: Reply, said: bool) -> str:
    for call in reply.calls:
        if call.problem:
            return call.problem
    if reply.calls:
        return ""
    if CONTROL_TEXT.search(reply.content):
        return "the reply holds a tool call written as text that can't be read"
    if reply.content.strip():
        return ""
    if reply.reasoning.strip():
        end = " before its token limit" if reply.finish == "length" else ""
        return f"the model only thought and gave no answer{end}"
    if reply.finish == "tool_calls":
        return "the server announced a tool call and sent none"
    return "the reply holds nothing but control tokens" if said else "the model sent an empty reply"


def _unusable(reply: Reply, problem: str) -> Mended:
    return Mended(replace(reply, content="", calls=()), problem)


def _mend_call(call: Call, schemas: Mapping[str, Any], notes: list[str]) -> list[Call]:
    if call.problem:
        try:
            arguments, cut = parse_object(call.raw)
        except ValueError:
            return [call]
        mended = replace(call, arguments=arguments, problem="", repaired="arguments")
        notes.append("arguments that were no JSON")
        return _cut(mended, schemas, notes) if cut else _fit(mended, schemas, notes)
    return _fit(call, schemas, notes)


def _cut(call: Call, schemas: Mapping[str, Any], notes: list[str]) -> list[Call]:
    # What was cut away is lost; the rest may run if nothing that it needs is missing.
    name = _nearest(call.name, schemas)
    lost = f"the arguments of the tool call {call.name or '?'} are cut"
    if name is None or not call.arguments:
        return [replace(call, problem=lost)]
    if any(one not in call.arguments for one in schemas[name].get("required", ())):
        return [replace(call, problem=lost)]
    notes.append("cut arguments, without the one that was cut")
    return _fit(replace(call, repaired="cut arguments"), schemas, notes)


def _fit(call: Call, schemas: Mapping[str, Any], notes: list[str]) -> list[Call]:
    name = _nearest(call.name, schemas)
    if name is None:
        known = ", ".join(schemas) or "none"
        return [replace(call, problem=f"there is no tool {call.name[:60]!r}; there are: {known}")]
    if name != call.name:
        notes.append(f"the tool {call.name[:60]} taken for {name}")
    arguments, changed = fit_arguments(schemas[name], call.arguments)
    notes += changed
    why = call.repaired or ("arguments" if changed or name != call.name else "")
    return [replace(call, name=name, arguments=arguments, repaired=why)]


def fit_arguments(
    schema: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments with what is surely meant put right, and what was changed.

    A value that can't be put right is left as it is: the tool's own check will name it.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    fitted: dict[str, Any] = {}
    notes: list[str] = []
    for given, value in arguments.items():
        name = given if given in properties else _nearest(given, properties)
        if name is None or value is None:
            notes.append(f"the argument {given[:40]} left out")
            continue
        wanted = _fit_value(name, value, properties[name])
        if name != given or wanted != value or type(wanted) is not type(value):
            notes.append(f"the argument {name} put right")
        fitted[name] = wanted
    return fitted, notes


def _fit_value(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    wanted = schema.get("type")
    if isinstance(value, list) and len(value) == 1 and wanted != "array":
        value = value[0]
    if wanted in {"integer", "number"} and isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        if number:
            value = float(number[1])
            if name == "minutes":
                value *= _MINUTES.get(number[2][:1].lower(), 1)
    if wanted == "integer" and isinstance(value, float) and abs(value) < 2**53:
        value = round(value)
    if wanted in {"integer", "number"} and isinstance(value, int | float):
        low, high = schema.get("minimum"), schema.get("maximum")
        value = low if low is not None and value < low else value
        value = high if high is not None and value > high else value
    if schema.get("enum") and isinstance(value, str) and value not in schema["enum"]:
        value = next((one for one in schema["enum"] if one.lower() == value.strip().lower()), value)
    if wanted == "array" and isinstance(value, str | int | float):
        value = [value]
    return value


def _nearest(name: str, known: Mapping[str, Any]) -> str | None:
    """Return the known name that is surely meant, None when that is a guess."""
    if name in known:
        return name
    plain = re.sub(r"\W", "_", name.rpartition(".")[2].rpartition(":")[2]).lower()
    if plain in known:
        return plain
    near = difflib.get_close_matches(plain, known, n=2, cutoff=0.84)
    return near[0] if len(near) == 1 else None


def _distinct(calls: Sequence[Call], notes: list[str]) -> list[Call]:
    found: dict[str, Call] = {}
    for call in calls:
        key = f"{call.name}:{json.dumps(call.arguments, sort_keys=True, default=str)}"
        if key in found and not call.problem:
            notes.append("a call made twice")
        found.setdefault(key if not call.problem else f"{key}#{len(found)}", call)
    whole = [call for call in found.values() if not call.problem]
    kept = whole or list(found.values())
    if len(kept) > MAX_CALLS:
        notes.append(f"more than {MAX_CALLS} calls at once")
    return kept[:MAX_CALLS]
