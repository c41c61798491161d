"""The first messages of a turn: the rules of the house, and what code already knows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from agent.messages import Message
from agent.state import TurnContext, TurnState

HISTORY_TURNS = 3


def opening(state: TurnState, context: TurnContext) -> list[Message]:
    """Return the messages that a turn begins with."""
    if state["kind"] == "diagnose":
        return [
            Message(role="system", content=_prompt("diagnose")),
            Message(role="user", content=brief(state["report"])),
        ]
    messages = [Message(role="system", content=_prompt("chat"))]
    for turn in context.memory.turns(state["session"], HISTORY_TURNS + 1)[:-1]:
        if turn["kind"] == "ask" and turn["answer"]:
            messages.append(Message(role="user", content=turn["question"][:600]))
            messages.append(Message(role="assistant", content=turn["answer"][:900]))
    parts = [endpoint_line(context)]
    known = context.memory.last_report(state["session"])
    if known is not None:
        parts.append(f"Known from the last diagnosis:\n{brief(known)}")
    parts.append(f"Question: {state['question']}")
    messages.append(Message(role="user", content="\n\n".join(part for part in parts if part)))
    return messages


def brief(report: Mapping[str, Any]) -> str:
    """Return a report as the model reads it: the verdict by rules, evidence, gaps, changes."""
    target = report["target"]
    lines = [
        f"Service: {target.get('service') or '?'} ({target['kind']}): {report['service_state']}.",
        f"Verdict by rules: {report['verdict']}. {report['impact']}",
    ]
    lines += [
        f"Cause ({cause['confidence']}): {cause['title']} {_ids(cause['evidence'])}."
        f" Fix: {' '.join(cause['fix'][:2])}"
        for cause in report["causes"]
    ]
    lines += [f"Hypothesis: {h['title']}; against it: {h['against']}" for h in _guesses(report)]
    lines.append("Evidence:")
    lines += [f"[{e['id']}] {e['source']}: {e['quote'][:240]}" for e in report["evidence"][:14]]
    if report["changes"]:
        lines.append("Changed since the last good revision:")
        lines += [f"- {c['what']}: {c['from']} -> {c['to']}"[:160] for c in report["changes"][:8]]
    if report["gaps"]:
        lines.append("Not seen:")
        lines += [f"- {gap[:160]}" for gap in report["gaps"][:5]]
    return "\n".join(lines)


def endpoint_line(context: TurnContext) -> str:
    """Return what is known of the endpoint now in one line, empty when nothing is."""
    facts = context.facts()
    if "endpoint.state" not in facts:
        return ""
    told = [f"Endpoint now: {facts['endpoint.state']}"]
    names = {"endpoint.model": "model", "endpoint.window": "window", "vllm.running": "running",
             "vllm.waiting": "waiting", "vllm.kv_usage": "KV cache use"}  # fmt: skip
    told += [f"{word} {facts[name]}" for name, word in names.items() if name in facts]
    return ", ".join(told) + "."


def _guesses(report: Mapping[str, Any]) -> list[Mapping[str, str]]:
    return [] if report["causes"] else list(report["hypotheses"][:4])


def _ids(evidence: list[str]) -> str:
    return " ".join(f"[{ref}]" for ref in evidence[:4])


@cache
def _prompt(name: str) -> str:
    return resources.files("agent").joinpath("prompts", f"{name}.txt").read_text("utf-8").strip()
