"""Which tools a request offers: chosen by code, for this question and this target, and short."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.approval import offered_changes
from agent.budget import OVERHEAD
from agent.messages import Message
from agent.state import TurnContext, TurnState
from agent.tokens import estimate_request
from tools.tool import Effect, Tool

Schema = dict[str, Any]

NOTE = "note_hypothesis"
READ_OUTPUT = "read_output"
MAX_TOOLS = 6
_SENTENCE = re.compile(r"(?<=[.;])\s")


def _schema(name: str, description: str, required: Sequence[str], **types: str) -> Schema:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in types.items()},
                "required": list(required),
            },
        },
    }


NOTE_SCHEMA = _schema(
    NOTE,
    "Note another possible cause, with what speaks for and against it.",
    ("title", "why"),
    title="string",
    why="string",
    against="string",
)
READ_OUTPUT_SCHEMA = _schema(
    READ_OUTPUT,
    "Read more of an earlier call's whole output, from a character offset.",
    ("call",),
    call="string",
    offset="integer",
)
OWN: Mapping[str, Schema] = {NOTE: NOTE_SCHEMA, READ_OUTPUT: READ_OUTPUT_SCHEMA}

# By the kind of target: what can bring something that the probes have not brought.
_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "cloud-run": ("read_logs", "list_revisions", "show_changes", "read_metrics", "read_series"),
    "tpu": ("read_logs", "list_queued_resources", "read_metrics", "read_series"),
    "local": ("get_endpoint", "read_metrics"),
}
_ELSEWHERE = ("read_logs", "get_endpoint", "read_metrics")
# Tools that only a server which answers can serve.
_NEED_ENDPOINT = {"read_metrics"}
# What a question in the chat is about → the tools that know.
_TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"fit|siz(?:e|ing)|memory|vram|hbm|gib|gb\b|kv", ("fit_model",)),
    (r"cost|price|cheap|expensive|usd|dollar|budget", ("estimate_cost",)),
    (r"recommend|which (?:gpu|tpu|accelerator|model)|should i (?:use|run|take)",
     ("recommend_setup",)),
    (r"flags?\b|vllm serve|--\w|lint", ("lint_flags", "list_revisions")),
    (r"logs?\b|line|error|traceback|exception|crash|why|fail", ("read_logs",)),
    (r"revision|deploy|rollout|change|differ|version|image|env",
     ("list_revisions", "show_changes")),
    (r"slow|latenc|ttft|queue|wait|token|through|busy|load|metric|preempt|cache|kv",
     ("read_metrics", "read_series")),
    (r"instance|request|cpu|gpu|graph|trend|hour|since", ("read_series",)),
    (r"tpu|queued|capacity|stockout|spot", ("list_queued_resources",)),
    (r"endpoint|model|window|context|alive|up\b|answer", ("get_endpoint",)),
)  # fmt: skip
_DEFAULT = ("read_logs", "get_endpoint", "list_revisions", "read_metrics")


def choose_tools(state: TurnState, context: TurnContext) -> dict[str, Tool]:
    """Return the read tools that make sense for this target and question, best first."""
    from tools.registry import load_tools

    if state["request"].get("logs") or (context.look is None and state["kind"] == "diagnose"):
        return {}
    tools = load_tools()
    if state.get("offered"):
        names: Sequence[str] = state["offered"]
    else:
        names = _names(state, context)
    return {n: tools[n] for n in names if n in tools and tools[n].effect is Effect.READ}


def offer(state: TurnState, context: TurnContext, system: str) -> list[Schema]:
    """Return the schemas that the next request offers, within what they may cost."""
    chosen = [compact_schema(tool) for tool in choose_tools(state, context).values()][:MAX_TOOLS]
    own = [NOTE_SCHEMA] if state["kind"] == "diagnose" else []
    if state.get("outputs") or state["kind"] == "diagnose":
        own.append(READ_OUTPUT_SCHEMA)
    own += [compact_schema(tool) for tool in offered_changes(context)]
    message = [Message(role="system", content=system)]
    while chosen and estimate_request(message, [*chosen, *own]) > OVERHEAD:
        chosen.pop()
    return [*chosen, *own]


def compact_schema(tool: Tool) -> Schema:
    """Return a tool's schema with one line of description and no bounds: code checks those."""
    properties = {}
    for name, schema in tool.parameters["properties"].items():
        kept = {k: v for k, v in schema.items() if k in {"type", "enum", "items"}}
        if "description" in schema:
            kept["description"] = str(schema["description"])[:60]
        properties[name] = kept
    parameters: Schema = {"type": "object", "properties": properties}
    if tool.parameters.get("required"):
        parameters["required"] = list(tool.parameters["required"])
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": _SENTENCE.split(tool.description)[0][:110],
            "parameters": parameters,
        },
    }


def _names(state: TurnState, context: TurnContext) -> tuple[str, ...]:
    facts = context.facts()
    kind = context.kind()
    possible = _BY_KIND.get(kind, _ELSEWHERE)
    if state["kind"] == "diagnose":
        names = possible
        if state.get("report", {}).get("verdict") == "confirmed":
            # The rules are sure: what is left to look for stands in the logs and the changes.
            names = tuple(n for n in possible if n not in {"read_series"})
    else:
        names = _by_question(state["question"], possible)
    if facts.get("endpoint.state") != "ready":
        names = tuple(name for name in names if name not in _NEED_ENDPOINT)
    return names


def _by_question(question: str, possible: Sequence[str]) -> tuple[str, ...]:
    everywhere = {"fit_model", "estimate_cost", "recommend_setup", "lint_flags", "get_endpoint"}
    named = [
        name
        for pattern, names in _TOPICS
        if re.search(pattern, question, re.IGNORECASE)
        for name in names
    ]
    wanted = dict.fromkeys([*named, *(() if len(set(named)) >= 3 else _DEFAULT)])
    return tuple(n for n in wanted if n in possible or n in everywhere)[:MAX_TOOLS]
