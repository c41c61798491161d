"""The model's prose for a draft: section by section, each sentence checked, each call counted.

The draft is complete without it. A model that is down, slow or talks nonsense costs its sentences
and nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from agent.audit import audited
from agent.memory import Memory
from agent.messages import BrainDown, Message
from agent.prose_check import check_sentences
from agent.settings import Settings
from runbooks.catalog import Catalog
from runbooks.draft import Draft, with_prose
from runbooks.draft_case import DraftCase
from tools.config import EndpointConfig
from tools.errors import GemmaSreError

# What each section is to say; the rest of a runbook is commands, and those come from code.
ASKED = {
    "Meaning": "what happened, in which process, and what the evidence says of the reason",
    "Impact": "what the failure meant for the service, as far as the evidence shows it",
    "Diagnosis": "what in the evidence speaks for which cause, and what to look at next",
    "Mitigation": "what to change first, and what that rests on",
}
DEFAULT_WINDOW = 4096
ANSWER = 600  # tokens of one section
MARGIN = 96
_BYTES_PER_TOKEN = 3  # never counts too few for log text and JSON on Gemma's tokenizer
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "evidence": {"type": "array", "items": {"type": "string"}, "maxItems": 6},
                    "kind": {"type": "string", "enum": ["fact", "advice"]},
                },
                "required": ["text", "evidence", "kind"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["sentences"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class Prose:
    """What the model brought; ``why`` says why not all sections were written, if so."""

    model: str = ""
    sections: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    why: str = ""

    @property
    def kept(self) -> int:
        """Return how many sentences stand."""
        return sum(map(len, self.sections.values()))

    def note(self) -> str:
        """Return the sentence that says who wrote what, and what was dropped."""
        count = Counter(reason for reason, _ in self.dropped)
        reasons = "; ".join(f"{number} because {reason}" for reason, number in count.most_common())
        text = (
            f"The model {self.model} wrote {self.kept + len(self.dropped)} sentences: {self.kept} "
            f"stand before the sections, {len(self.dropped)} were dropped"
        )
        return text + (f" ({reasons})." if reasons else ".")


async def draft_with_model(
    draft: Draft, settings: Settings, memory: Memory, catalog: Catalog
) -> tuple[Draft, Prose]:
    """Return the draft with the model's prose, or as it was with the reason why not."""
    try:
        config, model, window, token = await _endpoint(settings)
    except (BrainDown, GemmaSreError) as error:
        return draft, Prose(why=str(error))
    prose = await write_prose(draft.case, config, model, window, memory, token=token)
    if not prose.kept:
        prose.why = prose.why or "none of the model's sentences is borne out by the evidence"
        return draft, prose
    written = with_prose(draft, prose.sections, prose.note(), catalog)
    if any(finding.severity == "error" for finding in written.findings):
        prose.why = f"with the prose it does not lint: {written.findings[0].message}"
        return draft, prose
    return written, prose


async def write_prose(
    case: DraftCase,
    config: EndpointConfig,
    model: str,
    window: int,
    memory: Memory,
    *,
    token: Callable[[], Awaitable[str]] | None = None,
) -> Prose:
    """Ask for one section at a time, each inside the window; what fails ends the asking."""
    from agent.model import Brain  # the OpenAI client is slow to import, and rules need none

    prose = Prose(model=model)
    brain = Brain(config, model=model, token=token)
    ask = audited(memory.audit, "draft", config.url, model, brain.reply)
    try:
        for name, wanted in ASKED.items():
            messages = request_for(case, name, wanted, window)
            if messages is None:
                prose.why = f"its window of {window} tokens has no room for a section"
                break
            prose.calls += 1
            reply = await ask(
                messages, [], max_tokens=ANSWER, on_delta=lambda _kind, _text: None, schema=_SCHEMA
            )
            checked = check_sentences(_sentences(reply.content), case)
            prose.sections[name] = checked.kept
            prose.dropped.extend(checked.dropped)
    except BrainDown as error:
        prose.why = str(error)
    finally:
        await brain.close()
    return prose


def request_for(case: DraftCase, name: str, wanted: str, window: int) -> list[Message] | None:
    """Return the request for a section, its evidence cut until it fits; None if it can't."""
    system = resources.files("agent").joinpath("prompts", "draft.txt").read_text("utf-8").strip()
    limit = (window or DEFAULT_WINDOW) - ANSWER - MARGIN
    cited = [*case.told, *case.config, *case.ended]
    items = sorted(case.evidence, key=lambda item: item.id not in cited)[:14]
    for characters in (1200, 600, 300, 120):
        lines = [f"Section: {name}. Say {wanted}.", f"Drafted from {case.source}.", "Evidence:"]
        lines += [f"[{item.id}] {item.source}: {item.text[:characters]}" for item in items]
        messages = [
            Message(role="system", content=system),
            Message(role="user", content="\n".join(lines)),
        ]
        if tokens_of(messages) + tokens_of_text(json.dumps(_SCHEMA)) <= limit:
            return messages
    return None


def tokens_of(messages: list[Message]) -> int:
    """Return an upper estimate of the tokens of messages, the chat template's own included."""
    return 16 + sum(8 + tokens_of_text(message.get("content") or "") for message in messages)


def tokens_of_text(text: str) -> int:
    """Return an upper estimate of the tokens of a text."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def _sentences(content: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(content)["sentences"]
        if not all(isinstance(item, Mapping) for item in found):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise BrainDown("the reply is not the JSON that was asked for") from error
    return list(found)


async def _endpoint(
    settings: Settings,
) -> tuple[EndpointConfig, str, int, Callable[[], Awaitable[str]] | None]:
    """Return where to ask: the stand-in that was consented to, else the endpoint itself."""
    chosen = settings.stand_in
    if chosen.base_url and chosen.consent:
        stand_in = EndpointConfig(
            url=chosen.base_url.rstrip("/").removesuffix("/v1"),
            model=chosen.model,
            api_key=chosen.api_key.get_secret_value(),
            limits=settings.limits.to_tools(),
        )
        return stand_in, chosen.model, DEFAULT_WINDOW, None
    if not settings.base_url:
        raise BrainDown("no endpoint is configured")
    from tools.google.identity import IdentityTokens
    from tools.vllm.endpoint import probe_endpoint

    config = settings.endpoint_config()
    token: Callable[[], Awaitable[str]] | None = None
    first: str | None = None
    if config.url.startswith("https://") and config.url.endswith(".run.app") and not config.api_key:
        tokens = IdentityTokens(config.url, impersonate=settings.impersonate)

        async def fetch() -> str:
            try:
                return await tokens.token_for(config.url)
            except GemmaSreError:
                return "none"  # a public service needs none, a private one says 403 itself

        token, first = fetch, await fetch()
    probe = await probe_endpoint(config, first)
    facts = {name: value for item in probe.observations for name, value in item.facts.items()}
    if facts.get("endpoint.state") != "ready":
        raise BrainDown(f"the endpoint is {facts.get('endpoint.state', 'not known')}")
    window = facts.get("endpoint.window", DEFAULT_WINDOW)
    model = settings.model or str(facts.get("endpoint.model", ""))
    return config, model, window if isinstance(window, int) else DEFAULT_WINDOW, token
