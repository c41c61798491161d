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
from agent.acting import run_changes
from agent.answers import Settled, settle_answer, settle_hypotheses
from agent.breakers import call_key, evidence_seen, progress
from agent.events import (
    AnswerFinished,
    BrainChanged,
    PhaseChanged,
    ToolFinished,
    ToolStarted,
    VerdictReached,
)
from agent.gate import pass_gate
from agent.gather import ensure_look
from agent.memory import fingerprint_of
from agent.messages import BrainDown, Call, Message
from agent.patience import await_ready
from agent.reasoning import (
    NOTE,
    READ_OUTPUT,
    Thought,
    choose_tools,
    opening,
    think,
    wants_reach,
    why_not_model,
)
from agent.report import build_report, with_brain
from agent.state import TurnContext, TurnState
from agent.summaries import RESULT_LIMIT, slice_of, summarize
from agent.verdict import conclude
from runbooks.runbook import Runbook
from tools.domain import Probe
from tools.errors import GemmaSreError
from tools.tool import ToolContext, check_arguments


async def probe(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Look at the target: everything at once, nothing woken."""
    runtime.context.emit(PhaseChanged("probe"))
    look = await ensure_look(state, runtime.context)
    if not look.findings().answered:
        # One missing credential makes every probe fail with the same words: said once.
        reasons = list(dict.fromkeys(gap.why.rstrip(".") for gap in look.gaps))
        fixes = list(dict.fromkeys(gap.fix for gap in look.gaps if gap.fix))
        raise NothingSeen(
            f"Nothing at all could be probed: {'; '.join(reasons[:2]) or 'there was nothing'}.",
            fix=f"{fixes[0] if fixes else 'See what is missing'}, then `gemma-sre check`.",
        )
    return {}


async def match(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Match what was seen against the runbooks and judge it by rules."""
    context = runtime.context
    if state["kind"] == "ask" and context.look is None:
        return {}
    context.emit(PhaseChanged("match"))
    look = await ensure_look(state, context)
    seen = (len(look.records), len(look.observations), len(look.gaps), len(look.changes))
    if "report" in state and context.judged == seen:
        return {}
    context.judged = seen
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
    if state["kind"] == "ask" and context.look is None and wants_reach(state):
        context.emit(PhaseChanged("reason", "looking for the endpoint"))
        await await_ready(state, context)
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
        "messages": [*(thought.window or messages), *thought.messages],
        "evidence": state.get("evidence", evidence_seen(state, context)),
        "offered": thought.offered,
        "compactions": state.get("compactions", 0) + thought.compactions,
        "closed": thought.closed,
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


async def gate(state: TurnState, runtime: Runtime[TurnContext]) -> Command[Literal["gate", "act"]]:
    """Let reads pass; what would change something waits for a person."""
    runtime.context.emit(PhaseChanged("gate"))
    return await pass_gate(state, runtime.context)


async def act(state: TurnState, runtime: Runtime[TurnContext]) -> Command[Literal["match", "gate"]]:
    """Run the pending reads at once, then what was approved; results enter the window short."""
    context = runtime.context
    context.emit(PhaseChanged("act"))
    pending = state.get("pending", [])
    reads = [call for call in pending if "approval" not in call]
    results = await asyncio.gather(*(_run(state, context, call) for call in reads))
    acted = await run_changes(state, context, [call for call in pending if "approval" in call])
    update: dict[str, Any] = {
        "messages": [*state["messages"], *results, *acted.messages],
        "pending": acted.again,
        "asked_again": acted.why,
        "outputs": [*state.get("outputs", []), *(call["id"] for call in reads)],
        **progress(state, reads, evidence_seen(state, context)),
    }
    return Command(update=update, goto="gate" if acted.again else "match")


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
    settled = _settle(state, context)
    if "report" not in state:
        return _end(settled, brain)
    beliefs = settle_hypotheses(state.get("hypotheses", []), state["report"], context.catalog)
    report = with_brain(
        state["report"], brain["mode"], brain["why"], [*beliefs, *settled.hypotheses]
    )
    report["stats"] = {
        **report["stats"],
        "seconds": round(time.monotonic() - context.started, 3),
        "model_calls": state.get("model_calls", 0),
        "prompt_tokens": state.get("prompt_tokens", 0),
        "struck": settled.struck,
    }
    if not settled.text:
        told = narrate.summary(report)
        if state["kind"] == "ask":
            told = rules_chat.after_look(state["question"], brain["why"], report, context)
        settled = Settled(told, "rules")
    return {"report": report, **_end(settled, brain)}


def _settle(state: TurnState, context: TurnContext) -> Settled:
    answer, author = state.get("answer", ""), state.get("author", "rules")
    if author != "model" or not answer:
        return Settled(answer, author)
    return settle_answer(
        answer,
        state.get("report") or context.memory.last_report(state["session"]) or {},
        evidence=context.look.evidence if context.look is not None else None,
        catalog=context.catalog,
        question=state["question"],
        strict=state["kind"] == "diagnose",
    )


def _end(settled: Settled, brain: dict[str, str]) -> dict[str, Any]:
    return {
        "answer": settled.text,
        "author": settled.author,
        "struck": settled.struck,
        "brain": brain,
    }


async def record(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Write the turn, its evidence and its incident in one transaction, then show them."""
    context = runtime.context
    context.emit(PhaseChanged("record"))
    report = state.get("report")
    shown = _shown_runbooks(report, context)
    if state["kind"] == "diagnose" or "report" in state:
        wanted = bool(state["request"].get("record", True))
    else:
        wanted = False
    if wanted and shown:
        context.memory.approvals.keep(shown)  # so that the incident's link can be followed
    incident = context.memory.finish_turn(
        state["turn"],
        "recorded",  # and finished once it has been shown
        answer=state["answer"],
        author=state["author"],
        report=report,
        record_incident=wanted,
        runbooks={book.id: book.digest for book in shown},
    )
    if report is not None:
        report = {**report, "incident": incident}
        context.emit(VerdictReached(report))
    context.emit(AnswerFinished(state["answer"], state["author"], state.get("struck", 0)))
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
    if call["name"] == READ_OUTPUT:
        return _answer(call, _stored(state, context, call["arguments"]))
    if found is None:
        return _answer(call, f"There is no tool {call['name']!r}. There are: {', '.join(tools)}.")
    if call_key(call) in state.get("seen_calls", []):
        return _answer(call, "The same call was made before; its result stands above.")
    context.emit(ToolStarted(call["id"], found.name, arguments=call["arguments"]))
    started = time.monotonic()
    outcome, summary, content, shown = "ok", "", "", ""
    try:
        arguments = check_arguments(found, call["arguments"])
        look = await ensure_look(state, context)
        result = await _with_cloud(found.run, look.target, context, arguments)
        look.add_probe(Probe(found.name, result.observations, records=result.records))
        summary = result.summary
        content = json.dumps(result.data, default=str, indent=1) if result.data else summary
        shown = summarize(result, content, call["id"])
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
    return _answer(call, shown if outcome == "ok" else summary)


def _stored(state: TurnState, context: TurnContext, arguments: dict[str, Any]) -> str:
    offset = arguments.get("offset", 0)
    content = context.memory.call_output(state["turn"], str(arguments.get("call", "")))
    return slice_of(content, offset if isinstance(offset, int) else 0)


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
    rows = context.memory.incidents.similar(report)
    history = context.memory.incidents.history(fingerprint_of(report))
    return [
        {
            "id": row["id"],
            "match": row["match"],
            "service": row["service"],
            "title": row["title"],
            "last_seen": row["last_seen"],
            "count": row["count"],
            "status": row["status"],
            "resolution": row["resolution"],
            **(history if number == 0 and row["match"] == "exact" else {}),
        }
        for number, row in enumerate(rows)
    ]


def _shown_runbooks(report: dict[str, Any] | None, context: TurnContext) -> list[Runbook]:
    named = [cause["runbook"] or "" for cause in (report or {}).get("causes", [])]
    return [book for book in map(context.catalog.get, named) if book is not None]


def _answer(call: dict[str, Any], text: str) -> Message:
    if len(text) > RESULT_LIMIT + 100:
        text = text[:RESULT_LIMIT] + " […]"
    return Message(role="tool", tool_call_id=call["id"], content=text)


def _plain(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "problem": call.problem,
        "repaired": call.repaired,
    }
