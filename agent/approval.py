"""What a person is asked before something changes, and what the answer is worth.

An approval binds the exact call, its arguments, its target and the live state by a hash. It holds
for 15 minutes, and never for a session.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agent.events import ApprovalAsked, Decision
from agent.settings import Settings
from agent.state import TurnContext
from tools.domain import Target
from tools.tool import Effect, Preview, Tool

LIFETIME = timedelta(minutes=15)
READ_ONLY = (
    "Nothing is changed while the setting read_only is on; GEMMA_SRE_READ_ONLY=false turns it off."
)
NOBODY = (
    "Nothing is changed without a person to ask: a run without a screen needs an approved plan "
    "file."
)
ONE_DESTROY = "Only one destroying call may be asked for at a time: ask for it again after this."
REPAIRED = "The call was not well-formed and had to be repaired: a change must be sent whole."


def refusal(settings: Settings, interactive: bool, call: Mapping[str, Any]) -> str:
    """Return why a change is not even asked for, empty when a person may be asked."""
    if settings.read_only:
        return READ_ONLY
    if not interactive:
        return NOBODY
    return REPAIRED if call.get("repaired") else ""


def offered_changes(context: TurnContext) -> list[Tool]:
    """Return the changes that the model may ask for: none without a person, or when read-only."""
    from tools.registry import change_tools

    if refusal(context.settings, context.interactive, {}):
        return []
    return list(change_tools(context.kind()).values())


def call_hash(tool: Tool, arguments: Mapping[str, Any], target: Target, state: str) -> str:
    """Return the SHA-256 that binds a call, its arguments, its target and the live state."""
    bound = {
        "tool": tool.name,
        "effect": str(tool.effect),
        "arguments": dict(arguments),
        "target": place(target),
        "state": state,
    }
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def place(target: Target) -> dict[str, str]:
    """Return what of a target says where a change goes; how it was found does not matter."""
    names = ("kind", "service", "project", "location", "zone")
    return {name: str(getattr(target, name)) for name in names}


def describe(
    call: str, tool: Tool, arguments: Mapping[str, Any], target: Target, preview: Preview | None
) -> dict[str, Any]:
    """Return what a person is shown of one call, as JSON."""
    shown = preview or Preview(
        does="What it would do can't be foreseen.",
        before={},
        after={},
        state="",
        blast_radius="not known",
        undo="not known",
    )
    return {
        "call": call,
        "tool": tool.name,
        "arguments": dict(arguments),
        "effect": str(tool.effect),
        "target": place(target),
        "does": shown.does,
        "before": dict(shown.before),
        "after": dict(shown.after),
        "cost": shown.cost,
        "blast_radius": shown.blast_radius,
        "undo": shown.undo,
        "confirm": (shown.confirm or tool.name) if tool.effect is Effect.DESTROY else "",
        "state": shown.state,
        "hash": call_hash(tool, arguments, target, shown.state),
    }


def new_approval(calls: Sequence[Mapping[str, Any]], now: datetime, again: str) -> dict[str, Any]:
    """Return what is asked, as JSON; ``again`` says why it is asked a second time."""
    return {
        "approval": f"a-{secrets.token_hex(4)}",
        "asked": now.isoformat(),
        "expires": (now + LIFETIME).isoformat(),
        "again": again,
        "calls": [{**call, "again": again} for call in calls],
    }


def expired(expires: str, now: datetime) -> bool:
    """Return whether an approval's time is over."""
    return now >= datetime.fromisoformat(expires)


def weigh(
    asked: Mapping[str, Any], decisions: Mapping[str, Decision], now: datetime
) -> dict[str, Any]:
    """Return what the gate is told: by call, whether it is approved, why not, and its hash.

    A call that nobody decided on is denied; a DESTROY is approved by its typed name only.
    """
    taken: dict[str, Any] = {}
    for call in asked["calls"]:
        decision = decisions.get(call["call"], Decision(False, "nobody decided on it"))
        if decision.approved and call["confirm"] and decision.typed != call["confirm"]:
            decision = Decision(False, f"the name {call['confirm']} was not typed")
        taken[call["call"]] = {
            "approved": decision.approved,
            "reason": " ".join(decision.reason.split())[:400],
            "hash": call["hash"],
        }
    return {
        "approval": asked["approval"],
        "asked": asked["asked"],
        "expires": asked["expires"],
        "expired": expired(asked["expires"], now),
        "calls": taken,
    }


def denial(reason: str) -> str:
    """Return what the model is told of a call that was denied."""
    return f"A person denied this call: {reason or 'no reason was given'}. Don't ask for it again."


def shown(asked: Mapping[str, Any]) -> ApprovalAsked:
    """Return what is asked as the event that a front end shows."""
    return ApprovalAsked(asked["approval"], asked["calls"], asked["expires"])
