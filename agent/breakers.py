"""When the model has had its say: limits that end a loop of looking, and why the rules answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.service_state import KV_FULL
from agent.state import TurnContext, TurnState

# Steps in a row that brought nothing new: more looking does not help (ITBench-AA: 31 turns
# scored 46 %, 83 turns 30 %).
IDLE_STEPS = 3


def call_key(call: Mapping[str, Any]) -> str:
    """Return what makes two calls the same: the tool and its arguments."""
    return f"{call['name']}:{json.dumps(call['arguments'], sort_keys=True, default=str)}"


def closing(state: TurnState, context: TurnContext) -> str:
    """Return why the model must answer now, without another look; empty while it may look."""
    limits = context.settings.limits
    if state.get("repeats", 0) >= 2:
        return "it made the same call again and again"
    if state.get("idle", 0) >= IDLE_STEPS:
        return f"{IDLE_STEPS} steps brought no new evidence"
    if state.get("steps", 0) >= limits.model_steps - 1:
        return f"it may take {limits.model_steps} steps"
    if time.monotonic() - context.started > limits.turn * 0.8:
        return f"a turn may take {limits.turn:g} s"
    return ""


def broken(state: TurnState, context: TurnContext) -> str:
    """Return why the model is not asked any more, empty while it may be."""
    limits = context.settings.limits
    if state.get("steps", 0) >= limits.model_steps:
        return f"the model did not come to an answer in {limits.model_steps} steps"
    if state.get("closed"):
        return f"the model was told to answer and went on looking: {state['closed']}"
    if state.get("steps", 0) and time.monotonic() - context.started > limits.turn:
        return f"the model did not come to an answer in {limits.turn:g} s"
    return ""


def evidence_seen(state: TurnState, context: TurnContext) -> int:
    """Return how much has been seen and thought of so far; it grows with every piece of news."""
    look = context.look
    known = len(look.records) + len(look.observations) if look is not None else 0
    return known + len(state.get("hypotheses", []))


def progress(
    state: TurnState, pending: Sequence[Mapping[str, Any]], evidence: int
) -> dict[str, Any]:
    """Return how the state changes after a step: repeated calls, and steps without news.

    ``evidence`` counts what has been seen of the target so far.
    """
    seen = set(state.get("seen_calls", []))
    keys = [call_key(call) for call in pending]
    fresh = [key for key in keys if key not in seen]
    news = evidence > state.get("evidence", 0)
    return {
        "seen_calls": [*state.get("seen_calls", []), *dict.fromkeys(fresh)],
        "repeats": state.get("repeats", 0) + (0 if fresh or not keys else 1),
        "idle": 0 if news else state.get("idle", 0) + 1,
        "evidence": max(evidence, state.get("evidence", 0)),
    }


def saturated(facts: Mapping[str, Any]) -> str:
    """Return why the patient is spared, empty when it has room for a question of ours."""
    waiting, usage = facts.get("vllm.waiting", 0), facts.get("vllm.kv_usage", 0)
    if float(waiting) > 0 and float(usage) > KV_FULL:
        return f"the endpoint is saturated ({waiting:g} requests wait): it is spared"
    return ""


def endpoint_down(facts: Mapping[str, Any]) -> str:
    """Return why an endpoint in this state can't think, empty when it is ready."""
    endpoint = str(facts.get("endpoint.state") or "not known")
    if endpoint == "ready":
        return ""
    status = f" (HTTP {facts['endpoint.status']})" if facts.get("endpoint.status") else ""
    return {
        "not_probed": "the service is scaled to zero and was not woken",
        "refused": "the endpoint refuses connections",
        "stalled": "the endpoint accepts connections and does not answer",
        "starting": f"the endpoint is still starting{status}",
        "forbidden": f"the endpoint refuses the caller{status}",
        "no_instance": f"Cloud Run has no available instance{status}",
        "error": f"the endpoint answers with an error{status}",
        "nonsense": f"the endpoint's answer is not vLLM's{status}",
    }.get(endpoint, f"the endpoint is {endpoint}{status}")
