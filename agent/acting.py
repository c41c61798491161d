"""Carrying out what a person approved: intent first, result after, and never twice.

A change whose intent has no result was cut off. It is never sent again: the live state says
whether it was done, and when it says not, a person is asked anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.approval import call_hash, expired, place
from agent.events import ToolFinished, ToolStarted
from agent.gather import discover_target
from agent.intents import Intents, Outcome
from agent.messages import Message
from agent.state import TurnContext, TurnState
from tools.domain import Probe, Target
from tools.errors import ApprovalStale, CloudUnavailable, GemmaSreError
from tools.tool import Reconciled, Tool, ToolContext

# What the window keeps of a result; the whole of it stays in state.db.
ANSWER_LIMIT = 1200
_SHOWN = {"done": "ok", "failed": "failed", "not_done": "failed", "unknown": "failed"}


@dataclass(slots=True)
class Acted:
    """What became of a batch: answers for the model, and what a person must be asked again."""

    messages: list[Message] = field(default_factory=list)
    again: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""

    def ask_again(self, call: Mapping[str, Any], why: str) -> None:
        """Send a call back to the gate, without its grant."""
        self.again.append({name: value for name, value in call.items() if name != "approval"})
        self.why = why


async def run_changes(
    state: TurnState, context: TurnContext, calls: Sequence[dict[str, Any]]
) -> Acted:
    """Carry out approved changes one after the other; after one that failed, none is begun."""
    acted = Acted()
    stopped = ""
    for call in calls:
        if stopped:
            acted.messages.append(told(call, f"Not run: {stopped} before it did not succeed."))
            continue
        outcome = await _Change(state, context, call, acted).carry_out()
        if outcome not in {"done", "again"}:
            stopped = call["name"]
    return acted


async def settle_cut_off(context: TurnContext, session: str, turn: str) -> None:
    """Find out how changes ended that an earlier turn of the session began, and show it."""
    for row in Intents(context.memory).unsettled(session):
        if row["turn"] != turn:
            tool = _tool(row["tool"])
            context.emit(ToolStarted(row["call"], row["tool"], arguments=row["arguments"]))
            found = await _reconcile(context, tool, row)
            _finish(context, row, found.outcome, _words(found), time.monotonic())


def told(call: Mapping[str, Any], text: str) -> Message:
    """Return the answer to a call as the model reads it."""
    if len(text) > ANSWER_LIMIT:
        text = text[:ANSWER_LIMIT] + " […]"
    return Message(role="tool", tool_call_id=call["id"], content=text)


async def target_of(state: TurnState, context: TurnContext) -> Target:
    """Return what code discovers, the same way each time, so that a restart finds the same."""
    return await discover_target(state["request"], context.settings)


@asynccontextmanager
async def change_context(
    context: TurnContext, target: Target, approved: str = ""
) -> AsyncIterator[ToolContext]:
    """Yield what a change runs with: a cloud of its own, and the state that was approved."""
    from tools.google.clients import Cloud

    settings = context.settings
    config = settings.cloud_config()
    async with Cloud(config) as cloud:
        yield ToolContext(target, config, settings.endpoint_config(), cloud, approved)


class _Change:
    """One approved call on its way from intent to result."""

    def __init__(
        self, state: TurnState, context: TurnContext, call: dict[str, Any], acted: Acted
    ) -> None:
        self.state, self.context, self.call, self.acted = state, context, call, acted
        self.grant: Mapping[str, Any] = call["approval"]
        self.tool = _tool(call["name"])
        self.arguments: dict[str, Any] = dict(self.grant["arguments"])
        self.intents = Intents(context.memory)
        self.started = time.monotonic()

    async def carry_out(self) -> str:
        """Return the outcome: done, failed, not_done, unknown, or again."""
        row = self.intents.find(self.grant["id"], self.call["id"])
        self.context.emit(ToolStarted(self.call["id"], self.tool.name, arguments=self.arguments))
        if row is not None and row["outcome"]:
            return self._end(row["outcome"], row["summary"])  # ended just before the process did
        if row is not None:
            found = await _reconcile(self.context, self.tool, row)
            return self._end(found.outcome, _words(found))
        return await self._begin()

    async def _begin(self) -> str:
        if expired(self.grant["expires"], self.context.memory.file.clock()):
            return self._again("the approval had expired before it was used")
        try:
            target = await target_of(self.state, self.context)
            if not await self._still_as_approved(target):
                return self._again("the live state changed since it was approved")
        except GemmaSreError as error:
            return self._again(f"the live state could not be read again: {error}")
        intent = {
            "approval": self.grant["id"],
            "call": self.call["id"],
            "turn": self.state["turn"],
            "session": self.state["session"],
            "tool": self.tool.name,
            "effect": str(self.tool.effect),
            "arguments": self.arguments,
            "target": place(target),
            "before": self.grant["before"],
        }
        self.intents.begin(intent)
        return await self._send(target, intent)

    async def _still_as_approved(self, target: Target) -> bool:
        state = ""
        if self.tool.preview is not None:
            async with change_context(self.context, target) as where:
                state = (await self.tool.preview(where, **self.arguments)).state
        now = call_hash(self.tool, self.arguments, target, state)
        return bool(now == self.grant["hash"])

    async def _send(self, target: Target, intent: Mapping[str, Any]) -> str:
        # Anything but an error of ours leaves the intent open: it is reconciled later.
        try:
            async with change_context(self.context, target, self.grant["state"]) as where:
                result = await self.tool.run(where, **self.arguments)
        except ApprovalStale as error:
            return self._end("not_done", str(error))
        except CloudUnavailable as error:
            found = await _reconcile(self.context, self.tool, intent)
            return self._end(found.outcome, f"{error} {_words(found)}")
        except GemmaSreError as error:
            return self._end("failed", str(error))
        if self.context.look is not None:
            self.context.look.add_probe(Probe(self.tool.name, result.observations))
        content = json.dumps(result.data, default=str, indent=1) if result.data else ""
        return self._end("done", result.summary, content)

    def _end(self, outcome: Outcome, summary: str, content: str = "") -> str:
        row = {
            "approval": self.grant["id"],
            "call": self.call["id"],
            "turn": self.state["turn"],
            "tool": self.tool.name,
            "arguments": self.arguments,
        }
        _finish(self.context, row, outcome, summary, self.started, content)
        if outcome == "not_done":
            self.acted.ask_again(self.call, f"it was not carried out: {summary}")
            return "again"
        self.acted.messages.append(told(self.call, _ANSWERS[outcome].format(summary)))
        return outcome

    def _again(self, why: str) -> str:
        self.context.emit(ToolFinished(self.call["id"], self.tool.name, "skipped", 0.0, why))
        self.acted.ask_again(self.call, why)
        return "again"


_ANSWERS: Mapping[str, str] = {
    "done": "{}",
    "failed": "It failed: {}",
    "unknown": "It is not known whether this was carried out, and it is not run again: {} "
    "Look at the live state before anything else.",
}


async def _reconcile(context: TurnContext, tool: Tool, row: Mapping[str, Any]) -> Reconciled:
    """Return what the live state says of a change that was begun and not seen to end."""
    if tool.reconcile is None:
        return Reconciled("unknown", "this change can't be recognised in the live state")
    target = Target(**row["target"], found_by="intent")
    try:
        async with change_context(context, target) as where:
            return await tool.reconcile(where, row["before"], **row["arguments"])
    except GemmaSreError as error:
        return Reconciled("unknown", f"the live state can't be read: {error}")


def _words(found: Reconciled) -> str:
    said = {
        "done": "It was carried out",
        "not_done": "It was not carried out",
        "unknown": "Whether it was carried out is unknown",
    }
    return f"{said[found.outcome]}: {found.detail}."


def _finish(
    context: TurnContext,
    row: Mapping[str, Any],
    outcome: Outcome,
    summary: str,
    started: float,
    content: str = "",
) -> None:
    """Keep how a change ended, then show it; keeping it twice changes nothing."""
    Intents(context.memory).settle(row["approval"], row["call"], outcome, summary)
    seconds = time.monotonic() - started
    shown = _SHOWN[outcome]
    context.memory.record_call(
        row["turn"],
        {
            "call": row["call"],
            "name": row["tool"],
            "arguments": row["arguments"],
            "state": shown,
            "seconds": seconds,
            "summary": summary,
            "content": content or summary,
        },
    )
    context.emit(ToolFinished(row["call"], row["tool"], shown, seconds, summary, content))  # type: ignore[arg-type]


def _tool(name: str) -> Tool:
    from tools.registry import load_change_tools

    return load_change_tools()[name]
