"""Chat without a model: what a plain question asks for, recognised by code, answered from store."""

from __future__ import annotations

import re

from agent.state import TurnContext

_LOOK = re.compile(
    r"\b(diagnos\w*|status|state|healthy|health|up|down|broken|fail\w*|wrong|slow|why|log|logs|"
    r"error|errors|metric|metrics|crash\w*|happen\w*|deploy\w*|ready|serving|kv|queue)\b",
    re.IGNORECASE,
)
_INCIDENTS = re.compile(r"\b(incidents?|before|history|last time|seen)\b", re.IGNORECASE)
_RUNBOOK = re.compile(
    r"\b(runbooks?|how (?:do|can|to)|fix|what (?:is|does|means?))\b", re.IGNORECASE
)


def wants_a_look(question: str) -> bool:
    """Return whether the question is about the state of the service now."""
    asks_store = _INCIDENTS.search(question) or re.search(r"\brunbooks?\b", question, re.IGNORECASE)
    return bool(_LOOK.search(question)) and not asks_store


def answer(question: str, why: str, context: TurnContext) -> str:
    """Answer from incidents and runbooks, and say why the model does not."""
    parts = [f"The model is not answering ({why}), so this comes from rules and records."]
    if _INCIDENTS.search(question):
        parts.append(_incidents(context))
    elif _RUNBOOK.search(question) and (found := _runbooks(question, context)):
        parts.append(found)
    else:
        parts.append(
            "I can look without it: ask for the status, a diagnosis, incidents or a runbook,"
            " or type /diagnose."
        )
    return "\n\n".join(parts)


def _incidents(context: TurnContext) -> str:
    rows = context.memory.list_incidents(limit=10)
    if not rows:
        return "No incident is recorded yet."
    return "\n".join(
        f"- {row['id']} · {row['status']} · {row['service']} · {row['title']}"
        f" · seen {row['count']}×, last {row['last_seen'][:16]}"
        + (f" · fixed by {row['resolution']}" if row["resolution"] else "")
        for row in rows
    )


def _runbooks(question: str, context: TurnContext) -> str:
    found = context.catalog.find(question)[:3]
    return "\n\n".join(
        f"**{runbook.title}** ({runbook.id})\n\n{runbook.sections.get('Meaning', '').strip()}"
        for runbook in found
    )
