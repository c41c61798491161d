"""How the model is asked: whether at all, with which words and tools, what counts as a reply."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from agent.budget import DEFAULT_WINDOW, answer_room, estimate_request, fit_messages
from agent.events import AnswerDelta, EndpointState, ReasoningDelta, Stalled
from agent.messages import BrainDown, Call, Message, Reply, judge
from agent.service_state import KV_FULL
from agent.state import TurnContext, TurnState
from tools.config import EndpointConfig
from tools.errors import GemmaSreError
from tools.tool import Effect, Tool

NOTE = "note_hypothesis"
_NOTE_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": NOTE,
        "description": "Note another possible cause, with what speaks for and against it.",
        "parameters": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "why": {"type": "string"},
                "against": {"type": "string"},
            },
            "required": ["title", "why"],
        },
    },
}
# By the kind of target: what can bring something that the probes have not brought.
_TOOLS_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "cloud-run": ("read_logs", "list_revisions", "show_changes", "read_metrics", "read_series"),
    "tpu": ("read_logs", "list_queued_resources", "read_metrics"),
    "local": ("get_endpoint", "read_metrics"),
}
# Below this room an answer is cut before it says anything.
MIN_ANSWER = 96
HISTORY_TURNS = 3


@dataclass(frozen=True, slots=True)
class Thought:
    """One step of the model: an answer, or calls to run; ``messages`` join the window."""

    messages: list[Message]
    calls: tuple[Call, ...] = ()
    answer: str = ""
    model: str = ""
    model_calls: int = 1
    prompt_tokens: int = 0
    hypotheses: list[dict[str, str]] = field(default_factory=list)


def why_not_model(state: TurnState, context: TurnContext) -> str:
    """Return why the rules answer alone, empty when the model may be asked."""
    settings = context.settings
    if state["request"].get("rules_only"):
        return "--rules-only was given"
    if state.get("brain", {}).get("mode") == "rules":
        return state["brain"]["why"]
    if state.get("steps", 0) >= settings.limits.model_steps:
        return f"the model did not come to an answer in {settings.limits.model_steps} steps"
    if _stand_in(context) is not None:
        return ""
    if state["request"].get("logs"):
        if not settings.base_url:
            return "log files alone were given, and no endpoint is configured"
        return ""
    if context.look is None:
        return "" if settings.base_url else "no endpoint is configured"
    facts = {n: v for o in context.look.observations for n, v in o.facts.items()}
    endpoint = facts.get("endpoint.state")
    if endpoint != "ready":
        return _endpoint_down(str(endpoint or "not known"), facts)
    waiting, usage = facts.get("vllm.waiting", 0), facts.get("vllm.kv_usage", 0)
    if float(waiting) > 0 and float(usage) > KV_FULL:
        return f"the endpoint is saturated ({waiting} requests wait): it is spared"
    return ""


def _endpoint_down(endpoint: str, facts: Mapping[str, Any]) -> str:
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


def choose_tools(state: TurnState, context: TurnContext) -> dict[str, Tool]:
    """Return the read tools that make sense for this target."""
    from tools.registry import load_tools

    if state["request"].get("logs") or (context.look is None and state["kind"] == "diagnose"):
        return {}
    kind = context.look.target.kind if context.look is not None else "cloud-run"
    names = _TOOLS_BY_KIND.get(kind, ("read_logs", "get_endpoint"))
    tools = load_tools()
    return {n: tools[n] for n in names if n in tools and tools[n].effect is Effect.READ}


def opening(state: TurnState, context: TurnContext) -> list[Message]:
    """Return the first two messages: the rules of the house, and what is known."""
    if state["kind"] == "diagnose":
        return [
            Message(role="system", content=_prompt("diagnose")),
            Message(role="user", content=brief(state["report"])),
        ]
    messages = [Message(role="system", content=_prompt("chat"))]
    known = context.memory.last_report(state["session"])
    question = state["question"]
    if known is not None:
        question = f"Known from the last diagnosis:\n{brief(known)}\n\nQuestion: {question}"
    for turn in context.memory.turns(state["session"])[-HISTORY_TURNS - 1 : -1]:
        if turn["kind"] == "ask" and turn["answer"]:
            messages.append(Message(role="user", content=turn["question"][:600]))
            messages.append(Message(role="assistant", content=turn["answer"][:900]))
    messages.append(Message(role="user", content=question))
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
    lines.append("Evidence:")
    lines += [f"[{e['id']}] {e['source']}: {e['quote'][:240]}" for e in report["evidence"][:14]]
    if report["changes"]:
        lines.append("Changed since the last good revision:")
        lines += [f"- {c['what']}: {c['from']} -> {c['to']}"[:160] for c in report["changes"][:8]]
    if report["gaps"]:
        lines.append("Not seen:")
        lines += [f"- {gap[:160]}" for gap in report["gaps"][:5]]
    return "\n".join(lines)


async def think(state: TurnState, context: TurnContext, messages: list[Message]) -> Thought:
    """Ask the model; a flawed reply is told to it once. Raises BrainDown when that fails too."""
    from agent.model import Brain  # the OpenAI client is slow to import, and rules need none

    config, model, window = _endpoint(context)
    tools = [tool.schema() for tool in choose_tools(state, context).values()]
    if state["kind"] == "diagnose":
        tools.append(_NOTE_SCHEMA)
    brain = Brain(
        config, model=model, token=_token(config, context), thinking=context.settings.thinking
    )
    added: list[Message] = []
    tokens = 0
    try:
        for attempt in (1, 2):
            sent = fit_messages([*messages, *added], tools, window)
            used = estimate_request(sent, tools)
            room = answer_room(window, used)
            if room < MIN_ANSWER:
                raise BrainDown(f"its window of {window} tokens has no room for an answer")
            context.emit(EndpointState("ready", model=model, window=window, used=used))
            reply = await brain.reply(
                sent,
                tools,
                max_tokens=room,
                on_delta=_emitter(context),
                on_stall=lambda seconds: context.emit(Stalled("model", seconds)),
            )
            tokens += reply.prompt_tokens
            problem = judge(reply)
            if not problem:
                return _thought(added, reply, model, attempt, tokens)
            if attempt == 2 or reply.finish == "length":
                raise BrainDown(problem)
            added.append(
                Message(role="user", content=f"That reply can't be used: {problem}. Try once more.")
            )
    finally:
        await brain.close()
    raise BrainDown("the model gave no usable reply")


def _thought(added: list[Message], reply: Reply, model: str, calls: int, tokens: int) -> Thought:
    message = Message(role="assistant", content=reply.content or None)
    hypotheses = []
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in reply.calls
        ]
        hypotheses = [_hypothesis(c.arguments) for c in reply.calls if c.name == NOTE]
    return Thought(
        [*added, message],
        reply.calls,
        "" if reply.calls else reply.content.strip(),
        model,
        calls,
        tokens,
        hypotheses,
    )


def _hypothesis(arguments: Mapping[str, Any]) -> dict[str, str]:
    from tools.logs.canonical import canonical_text

    def text(name: str, limit: int) -> str:
        return canonical_text(str(arguments.get(name, "")))[:limit]

    return {
        "title": text("title", 160) or "(untitled)",
        "why": f"the model believes: {text('why', 400)}",
        "against": text("against", 400) or "no runbook's rule supports it",
    }


def _endpoint(context: TurnContext) -> tuple[EndpointConfig, str, int]:
    """Return where to think: the stand-in that was consented to, else the patient."""
    settings = context.settings
    stand_in = _stand_in(context)
    if stand_in is not None:
        return stand_in, settings.stand_in.model, DEFAULT_WINDOW
    look = context.look
    facts = {} if look is None else {n: v for o in look.observations for n, v in o.facts.items()}
    config = settings.endpoint_config()
    url = look.target.url if look is not None and look.target.url else config.url
    model = settings.model or str(facts.get("endpoint.model", ""))
    window = facts.get("endpoint.window", DEFAULT_WINDOW)
    return (
        EndpointConfig(
            url=url,
            model=model,
            api_key=config.api_key,
            audience=_audience(url),
            limits=config.limits,
        ),
        model,
        window if isinstance(window, int) else DEFAULT_WINDOW,
    )


def _stand_in(context: TurnContext) -> EndpointConfig | None:
    chosen = context.settings.stand_in
    if not (chosen.base_url and chosen.consent):
        return None
    return EndpointConfig(
        url=chosen.base_url.rstrip("/").removesuffix("/v1"),
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        limits=context.settings.limits.to_tools(),
    )


def _audience(url: str) -> str:
    return url if url.startswith("https://") and url.endswith(".run.app") else ""


def _token(config: EndpointConfig, context: TurnContext) -> Callable[[], Awaitable[str]] | None:
    if not config.audience or config.api_key:
        return None
    from tools.google.identity import IdentityTokens

    tokens = IdentityTokens(config.audience, impersonate=context.settings.impersonate)

    async def token() -> str:
        try:
            return await tokens.token_for(config.url)
        except GemmaSreError:
            # A public service needs none, and a private one answers 403, which says so itself.
            return "none"

    return token


def _emitter(context: TurnContext) -> Any:
    def emit(kind: str, text: str) -> None:
        context.emit(ReasoningDelta(text) if kind == "reasoning" else AnswerDelta(text))

    return emit


def _ids(evidence: list[str]) -> str:
    return " ".join(f"[{ref}]" for ref in evidence[:4])


def _prompt(name: str) -> str:
    return resources.files("agent").joinpath("prompts", f"{name}.txt").read_text("utf-8").strip()
