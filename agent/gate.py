"""The gate: reads pass, and what changes something waits for a person, once for a whole batch.

The node that stands here runs again from its start when the person has answered, so nothing before
``interrupt`` has an effect: previews only read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langgraph.types import Command, interrupt

from agent.acting import change_context, target_of, told
from agent.approval import ONE_DESTROY, denial, describe, new_approval, refusal
from agent.intents import Intents
from agent.messages import Message
from agent.state import TurnContext, TurnState
from tools.domain import Target
from tools.errors import GemmaSreError
from tools.tool import Effect, Tool, check_arguments

EXPIRED = "the approval had expired"
MOVED = "the live state changed since it was asked"


async def pass_gate(state: TurnState, context: TurnContext) -> Command[Literal["gate", "act"]]:
    """Return where the pending calls go: to be run, or to be asked for again."""
    pending = state.get("pending", [])
    reads, changes, refused = _sort(pending, context)
    shown, failed = await _previews(state, context, changes)
    if not shown:
        answers = [*refused, *failed]
        _audit_refusals(context, refused)
        update = {"pending": reads, "messages": _with(state, answers), "asked_again": ""}
        return Command(update=update, goto="act")
    asked = new_approval(shown, context.memory.file.clock(), state.get("asked_again", ""))
    answer: Mapping[str, Any] = interrupt(asked)
    # A person has answered. After a kill at this place they may have answered twice, and the
    # graph remembers the first answer only: what both allow is allowed.
    newest = Intents(context.memory).decisions(answer["approval"])
    granted, denied, stale = _apply(answer, newest, changes, shown)
    answers = [*refused, *failed, *denied]
    _audit_refusals(context, refused)
    update = {"messages": _with(state, answers), "pending": [*reads, *granted]}
    if stale:
        # What was approved beside it is asked again too: the batch was judged as a whole.
        plain = [
            call for call in changes if call["id"] not in {one["tool_call_id"] for one in answers}
        ]
        why = EXPIRED if answer["expired"] else MOVED
        update |= {"pending": [*reads, *plain], "asked_again": why}
        return Command(update=update, goto="gate")
    return Command(update={**update, "asked_again": ""}, goto="act")


def _sort(
    pending: Sequence[dict[str, Any]], context: TurnContext
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Message]]:
    """Return what only reads, what a person may be asked for, and answers to what is refused."""
    from tools.registry import load_change_tools

    tools = load_change_tools()
    reads, changes, refused = [], [], []
    destroys = 0
    for call in pending:
        tool = tools.get(call["name"])
        if tool is None:
            reads.append(call)
            continue
        why = refusal(context.settings, context.interactive, call)
        if call["problem"] and not why:
            reads.append(call)  # not run: its problem is told
            continue
        destroys += tool.effect is Effect.DESTROY and not why
        if not why and destroys > 1 and tool.effect is Effect.DESTROY:
            why = ONE_DESTROY
        if why:
            refused.append(told(call, why))
        else:
            changes.append(call)
    return reads, changes, refused


async def _previews(
    state: TurnState, context: TurnContext, changes: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[Message]]:
    """Return what each change would do, and answers to those that can't be asked for."""
    if not changes:
        return [], []
    try:
        target = await target_of(state, context)
    except GemmaSreError as error:
        return [], [told(call, f"Not asked for: {error}") for call in changes]
    results = await asyncio.gather(*(_preview(context, target, call) for call in changes))
    shown = [one for one in results if not isinstance(one, str)]
    failed = [
        told(call, result)
        for call, result in zip(changes, results, strict=True)
        if isinstance(result, str)
    ]
    return shown, failed


async def _preview(
    context: TurnContext, target: Target, call: dict[str, Any]
) -> dict[str, Any] | str:
    from tools.registry import load_change_tools

    tool = load_change_tools()[call["name"]]
    try:
        arguments = check_arguments(tool, call["arguments"])
        return await _describe(context, target, tool, call["id"], arguments)
    except GemmaSreError as error:
        return f"Not asked for: {error}"


async def _describe(
    context: TurnContext, target: Target, tool: Tool, call: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return what a person is shown of a call; raises GemmaSreError when it can't be done."""
    if tool.preview is None:
        return describe(call, tool, arguments, target, None)
    async with change_context(context, target) as where:
        return describe(call, tool, arguments, target, await tool.preview(where, **arguments))


def _apply(
    answer: Mapping[str, Any],
    newest: Mapping[str, Any],
    changes: Sequence[dict[str, Any]],
    shown: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[Message], bool]:
    """Return calls with their grants, answers to the denied, and whether to ask once more.

    ``shown`` was read just now: a hash that is not the approved one means that the live state,
    or the call, is not what the person saw.
    """
    now = {one["call"]: one for one in shown}
    granted: list[dict[str, Any]] = []
    denied: list[Message] = []
    stale = False
    for call in changes:
        if call["id"] not in now:
            continue
        taken = answer["calls"].get(call["id"])
        if taken is None or answer["expired"]:
            stale = True
        elif not (taken["approved"] and newest.get(call["id"], {}).get("approved")):
            denied.append(told(call, denial(newest.get(call["id"], taken)["reason"])))
        elif taken["hash"] != now[call["id"]]["hash"]:
            stale = True
        else:
            grant = {"id": answer["approval"], "expires": answer["expires"]} | dict(now[call["id"]])
            granted.append({**call, "approval": grant})
    return granted, denied, stale


def _audit_refusals(context: TurnContext, refused: Sequence[Message]) -> None:
    for one in refused:
        details = {"call": one["tool_call_id"], "why": one["content"]}
        context.memory.audit.record("refusal", details, result="refused")


def _with(state: TurnState, answers: Sequence[Message]) -> list[Message]:
    return [*state["messages"], *answers]
