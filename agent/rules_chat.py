"""Chat without a model: what a plain question asks for, recognised by code, answered from store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from agent.narrate import plain_markdown, summary
from agent.state import TurnContext
from tools.errors import GemmaSreError

Intent = Literal["diagnose", "logs", "metrics", "incidents", "runbook", "size", "cost", "unknown"]

LOG_LINES = 12
_I = re.IGNORECASE
# In order: the first that fits decides. A store is asked before the service is looked at.
_INTENTS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    ("cost", re.compile(r"\b(costs?|price[sd]?|cheap\w*|expensive|how much|usd|dollars?)\b", _I)),
    ("size", re.compile(r"\b(fits?|big enough|enough (?:memory|vram|hbm)|vram|sizes?|sizing)\b",
                        _I)),
    ("incidents", re.compile(r"\b(incidents?|happened before|history|last time|seen before|"
                             r"ever (?:seen|had)|already)\b", _I)),
    ("runbook", re.compile(r"\b(runbooks?|how (?:do|can|to|should)|fix|repair|"
                           r"what (?:does|means?) )", _I)),
    ("logs", re.compile(r"\b(logs?|lines?|traceback|stack ?trace|printed)\b", _I)),
    ("metrics", re.compile(r"\b(metrics?|queue\w*|waiting|kv|cache|preempt\w*|load|busy|"
                           r"saturat\w*|throughput|latenc\w*|ttft)\b", _I)),
    ("diagnose", re.compile(r"\b(diagnos\w*|status|state|health\w*|up|down|broken|fail\w*|wrong|"
                            r"slow|why|errors?|crash\w*|happen\w*|deploy\w*|ready|serv\w*|"
                            r"alive|work\w*|ok|okay|going on|wake|asleep)\b", _I)),
)  # fmt: skip
_METRICS = {
    "vllm.running": "requests running",
    "vllm.waiting": "requests waiting",
    "vllm.kv_usage": "share of the KV cache in use",
    "vllm.preemptions": "preemptions since the start",
    "run.instances": "instances",
}


def intent(question: str) -> Intent:
    """Return what a plain question asks for."""
    return next((name for name, words in _INTENTS if words.search(question)), "unknown")


def wants_a_look(question: str) -> bool:
    """Return whether the question is about the state of the service now."""
    return intent(question) in {"diagnose", "logs", "metrics"}


def answer(question: str, why: str, context: TurnContext) -> str:
    """Answer from incidents, runbooks and the tables, and say why the model does not."""
    told = {
        "incidents": _incidents,
        "runbook": _runbooks,
        "size": _size,
        "cost": _cost,
    }.get(intent(question), _nothing)(question, context)
    return f"{not_answering(why)}\n\n{told or _nothing(question, context)}"


def after_look(question: str, why: str, report: Mapping[str, Any], context: TurnContext) -> str:
    """Answer from a look at the service: its logs, its metrics, or the whole diagnosis."""
    wanted, parts = intent(question), [not_answering(why)]
    if wanted == "logs" and context.look is not None:
        parts.append(_logs(context))
    elif wanted == "metrics":
        parts.append(_metrics(context))
    return "\n\n".join([*parts, summary(report)])


def not_answering(why: str) -> str:
    """Return the sentence with which every answer of the rules begins in a chat."""
    return (
        f"The model is not answering ({plain_markdown(why)}), so this comes from rules and records."
    )


def _nothing(question: str, context: TurnContext) -> str:
    del question, context
    return (
        "I can look without it: ask for the status, the logs, the metrics, earlier incidents, a"
        " runbook, whether a model fits an accelerator, or what it costs; /diagnose tells all."
    )


def _logs(context: TurnContext) -> str:
    assert context.look is not None  # noqa: S101 - the caller has looked
    records = sorted(context.look.records, key=lambda r: str(r.time or ""))[-LOG_LINES:]
    if not records:
        return "No log entry was found in this time."
    lines = [f"{r.time:%H:%M:%S} " * (r.time is not None) + r.text[:240] for r in records]
    text = "\n".join(lines).replace("```", "'''")
    return f"The newest {len(records)} of {len(context.look.records)} entries:\n\n```\n{text}\n```"


def _metrics(context: TurnContext) -> str:
    facts = context.facts()
    rows = [f"- {words}: {facts[name]:g}" for name, words in _METRICS.items() if name in facts]
    return "\n".join(rows) or "The server's metrics could not be read."


def _incidents(question: str, context: TurnContext) -> str:
    asked = re.sub(
        r"(?i)\b(incidents?|seen|before|last time|history|have|we|any|the)\b", " ", question
    )
    words = " ".join(re.findall(r"\w{4,}", asked))
    rows = context.memory.incidents.search(words, 5) if words else []
    rows = rows or context.memory.list_incidents(limit=10)
    if not rows:
        return "No incident is recorded yet."
    return "\n".join(
        f"- {row['id']} · {row['status']} · {row['service']} · {plain_markdown(row['title'])}"
        f" · seen {row['count']}×, last {row['last_seen'][:16]}"
        + (f" · fixed by {plain_markdown(row['resolution'])}" if row["resolution"] else "")
        for row in rows
    )


def _runbooks(question: str, context: TurnContext) -> str:
    return "\n\n".join(
        f"**{runbook.title}** ({runbook.id})\n\n{runbook.sections.get('Meaning', '').strip()}"
        for runbook in context.catalog.find(question)[:3]
    )


def _size(question: str, context: TurnContext) -> str:
    from tools.sizing.fit import fit
    from tools.sizing.request import FitRequest

    model, card = _named(question, context)
    if not (model and card):
        return "Name a model and an accelerator, such as: does 31B fit on an L4?"
    try:
        result = fit(FitRequest(model, card), today=context.settings.now().date())
    except GemmaSreError as error:
        return str(error)
    helps = [f"- {one.change}: {one.effect}" for one in result.advice if one.outcome == "fits"]
    head = "\n".join(result.explanation)
    return head + ("\n\nWhat would help:\n\n" + "\n".join(helps[:4]) if helps else "")


def _cost(question: str, context: TurnContext) -> str:
    from tools.sizing.cost import CostRequest, cost
    from tools.sizing.request import FitRequest

    model, card = _named(question, context)
    if not (model and card):
        return "Name a model and an accelerator, such as: what does 12B cost on an L4?"
    try:
        result = cost(CostRequest(FitRequest(model, card)), today=context.settings.now().date())
    except GemmaSreError as error:
        return str(error)
    kind = "measured" if result.measured else "an upper bound"
    return "\n".join(
        f"- {one.offer.where}: {one.hour:.2f} USD an hour, {one.month:,.0f} a month,"
        f" {one.million_tokens:.2f} a million output tokens ({kind}; price of {one.offer.day})"
        for one in result.offers[:4]
    )


def _named(question: str, context: TurnContext) -> tuple[str, str]:
    """Return the model and the accelerator that a question names, else what serves now."""
    from tools.sizing.tables import plain, table

    def find(kind: str) -> str:
        names: dict[str, str] = {}
        for key, row in table(kind)[kind].items():
            for alias in (key, *row.get("aliases", ()), *row.get("hub", ())):
                names[plain(alias)] = key
        words = re.findall(r"[\w./-]+", question)
        spans = ["".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words))]
        found = [word for word in map(plain, spans) if word in names]
        return names[max(found, key=len)] if found else ""

    facts = context.facts()
    model = find("models") or str(facts.get("endpoint.model", "")) or context.settings.model
    card = find("accelerators") or str(facts.get("run.accelerator", ""))
    return model, card
