"""The nodes of the graph: each reads the state, does one thing, and returns what changed.

A node may run again from its start after a kill: none has an effect that may not happen twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Command

from agent import narrate, rules_chat
from agent.events import (
    AnswerFinished,
    BrainChanged,
    PhaseChanged,
    ToolFinished,
    ToolStarted,
    VerdictReached,
)
from agent.gather import ensure_look
from agent.memory import fingerprint_of
from agent.messages import BrainDown, Call, Message
from agent.reasoning import NOTE, Thought, choose_tools, opening, think, why_not_model
from agent.report import build_report, with_brain
from agent.state import TurnContext, TurnState
from agent.verdict import conclude
from tools.domain import Probe
from tools.errors import GemmaSreError
from tools.tool import Effect, ToolContext, check_arguments

# A tool's summary enters the window; its whole output stays in state.db.
RESULT_LIMIT = 1200


async def probe(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Look at the target: everything at once, nothing woken."""
    runtime.context.emit(PhaseChanged("probe"))
    look = await ensure_look(state, runtime.context)
    if not look.findings().answered:
        gaps = "; ".join(str(gap) for gap in look.gaps[:3])
        raise NothingSeen(
            "Nothing at all could be probed" + (f" ({gaps})." if gaps else "."),
            fix="`gemma-sre check` tests credentials, project, permissions and endpoint.",
        )
    return {}


async def match(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Match what was seen against the runbooks and judge it by rules."""
    context = runtime.context
    if state["kind"] == "ask" and context.look is None:
        return {}
    context.emit(PhaseChanged("match"))
    look = await ensure_look(state, context)
    findings = look.findings()
    verdict = conclude(findings, context.catalog)
    report = build_report(findings, verdict, look.evidence, simulated=context.settings.simulated)
    if report["causes"]:
        report["similar"] = _similar(report, context)
    return {"report": report}


async def reason(
    state: TurnState, runtime: Runtime[TurnContext]
) -> Command[Literal["gate", "verdict", "rules"]]:
    """Ask the model for its judgement or its next look, if it can and may think."""
    context = runtime.context
    down = why_not_model(state, context)
    if not down:
        context.emit(PhaseChanged("reason"))
        messages = state.get("messages") or opening(state, context)
        try:
            thought = await think(state, context, messages)
        except BrainDown as error:
            down = str(error)
        else:
            return _after_thought(state, context, messages, thought)
    brain = {"mode": "rules", "why": down}
    context.emit(BrainChanged("rules", down))
    if state["kind"] == "ask" and "report" not in state:
        return Command(update={"brain": brain}, goto="rules")
    return Command(update={"brain": brain}, goto="verdict")


def _after_thought(
    state: TurnState, context: TurnContext, messages: list[Message], thought: Thought
) -> Command[Literal["gate", "verdict", "rules"]]:
    update: dict[str, Any] = {
        "messages": [*messages, *thought.messages],
        "steps": state.get("steps", 0) + 1,
        "model_calls": state.get("model_calls", 0) + thought.model_calls,
        "prompt_tokens": state.get("prompt_tokens", 0) + thought.prompt_tokens,
        "hypotheses": [*state.get("hypotheses", []), *thought.hypotheses],
    }
    if thought.calls:
        update["pending"] = [_plain(call) for call in thought.calls]
        return Command(update=update, goto="gate")
    update |= {
        "brain": {"mode": "model", "why": f"{thought.model} answered"},
        "answer": thought.answer,
        "author": "model",
    }
    context.emit(BrainChanged("model", f"{thought.model} answered"))
    return Command(update=update, goto="verdict")


async def gate(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Let reads pass; a call that would change something is refused: nothing here may change."""
    runtime.context.emit(PhaseChanged("gate"))
    tools = choose_tools(state, runtime.context)
    passed, refused = [], []
    for call in state.get("pending", []):
        found = tools.get(call["name"])
        if found is not None and found.effect is not Effect.READ:
            refused.append(_answer(call, f"{call['name']} changes the service: not allowed here."))
        else:
            passed.append(call)
    return {"pending": passed, "messages": [*state["messages"], *refused]}


async def act(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Run the pending reads at once; each result enters the window as its summary."""
    context = runtime.context
    context.emit(PhaseChanged("act"))
    results = await asyncio.gather(
        *(_run(state, context, call) for call in state.get("pending", []))
    )
    seen = [*state.get("seen_calls", []), *(_key(call) for call in state.get("pending", []))]
    return {"messages": [*state["messages"], *results], "pending": [], "seen_calls": seen}


async def rules(
    state: TurnState, runtime: Runtime[TurnContext]
) -> Command[Literal["probe", "verdict"]]:
    """Answer a chat question without a model: by looking, or from what is stored."""
    if rules_chat.wants_a_look(state["question"]):
        return Command(goto="probe")
    context = runtime.context
    answer = rules_chat.answer(state["question"], state["brain"]["why"], context)
    return Command(update={"answer": answer, "author": "rules"}, goto="verdict")


async def verdict(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Settle the report and the answer; the model's beliefs join the hypotheses only."""
    context = runtime.context
    context.emit(PhaseChanged("verdict"))
    brain = state.get("brain") or {"mode": "rules", "why": "the model was not asked"}
    answer, author = state.get("answer", ""), state.get("author", "rules")
    if "report" not in state:
        return {"answer": answer, "author": author, "brain": brain}
    report = with_brain(state["report"], brain["mode"], brain["why"], state.get("hypotheses", []))
    report["stats"] = {
        **report["stats"],
        "seconds": round(time.monotonic() - context.started, 3),
        "model_calls": state.get("model_calls", 0),
        "prompt_tokens": state.get("prompt_tokens", 0),
    }
    if not answer:
        answer, author = narrate.summary(report), "rules"
    return {"report": report, "answer": answer, "author": author, "brain": brain}


async def record(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Write the turn, its evidence and its incident in one transaction, then show them."""
    context = runtime.context
    context.emit(PhaseChanged("record"))
    report = state.get("report")
    if state["kind"] == "diagnose" or "report" in state:
        wanted = bool(state["request"].get("record", True))
    else:
        wanted = False
    incident = context.memory.finish_turn(
        state["turn"],
        "recorded",  # and finished once it has been shown
        answer=state["answer"],
        author=state["author"],
        report=report,
        record_incident=wanted,
    )
    if report is not None:
        report = {**report, "incident": incident}
        context.emit(VerdictReached(report))
    context.emit(AnswerFinished(state["answer"], state["author"]))
    return {} if report is None else {"report": report}


class NothingSeen(GemmaSreError):
    """No probe brought anything: there is nothing to judge."""


async def _run(state: TurnState, context: TurnContext, call: dict[str, Any]) -> Message:
    tools = choose_tools(state, context)
    found = tools.get(call["name"])
    if call["problem"]:
        return _answer(call, f"Not run: {call['problem']}. Send the call again, whole.")
    if call["name"] == NOTE:
        return _answer(call, "Noted as a hypothesis.")
    if found is None:
        return _answer(call, f"There is no tool {call['name']!r}. There are: {', '.join(tools)}.")
    if _key(call) in state.get("seen_calls", []):
        return _answer(call, "The same call was made before; its result stands above.")
    context.emit(ToolStarted(call["id"], found.name, arguments=call["arguments"]))
    started = time.monotonic()
    outcome, summary, content = "ok", "", ""
    try:
        arguments = check_arguments(found, call["arguments"])
        look = await ensure_look(state, context)
        result = await _with_cloud(found.run, look.target, context, arguments)
        look.add_probe(Probe(found.name, result.observations, records=result.records))
        summary = result.summary
        content = json.dumps(result.data, default=str, indent=1) if result.data else summary
    except GemmaSreError as error:
        outcome, summary = "failed", str(error)
    seconds = time.monotonic() - started
    context.memory.record_call(
        state["turn"],
        {
            "call": call["id"],
            "name": found.name,
            "arguments": call["arguments"],
            "state": outcome,
            "seconds": seconds,
            "summary": summary,
            "content": content,
        },
    )
    context.emit(
        ToolFinished(call["id"], found.name, outcome, seconds, summary, content)  # type: ignore[arg-type]
    )
    return _answer(call, summary)


async def _with_cloud(run: Any, target: Any, context: TurnContext, arguments: Any) -> Any:
    from tools.google.clients import Cloud

    settings = context.settings
    endpoint = settings.endpoint_config()
    if settings.project:
        async with Cloud(settings.cloud_config()) as cloud:
            return await run(
                ToolContext(target, settings.cloud_config(), endpoint, cloud), **arguments
            )
    return await run(ToolContext(target, settings.cloud_config(), endpoint), **arguments)


def _similar(report: dict[str, Any], context: TurnContext) -> list[dict[str, Any]]:
    rows = context.memory.similar(fingerprint_of(report), report["target"].get("service", ""))
    return [
        {
            "incident": row["id"],
            "service": row["service"],
            "title": row["title"],
            "last_seen": row["last_seen"],
            "count": row["count"],
            "status": row["status"],
            "resolution": row["resolution"],
        }
        for row in rows
    ]


def _answer(call: dict[str, Any], text: str) -> Message:
    if len(text) > RESULT_LIMIT:
        text = text[:RESULT_LIMIT] + " […]"
    return Message(role="tool", tool_call_id=call["id"], content=text)


def _key(call: dict[str, Any]) -> str:
    return f"{call['name']}:{json.dumps(call['arguments'], sort_keys=True)}"


def _plain(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "problem": call.problem,
    }
