"""What each server can do, found out from what it answers, never from what it is called.

vLLM is the home ground. llama.cpp, Ollama, SGLang and TGI speak the same API and lack parts of it:
``/version``, ``/load``, ``/tokenize``, ``max_model_len`` in the model card, tool calls, a schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.budget import DEFAULT_WINDOW
from agent.messages import BrainDown
from agent.tokens import TokenCounter
from tools.config import EndpointConfig

if TYPE_CHECKING:
    from agent.model import Brain

Token = Callable[[], Awaitable[str]]
NO_TOKEN = "none"  # noqa: S105 - what the client sends where no token is needed

# Where a server without max_model_len says how many tokens it takes, and under which names:
# llama.cpp's /props, TGI's /info, SGLang's /get_model_info (their READMEs, 2026-11).
_CARDS = {
    "/props": ("default_generation_settings.n_ctx", "n_ctx"),
    "/info": ("max_total_tokens", "max_input_tokens"),
    "/get_model_info": ("max_model_len", "context_length"),
}
_LOST: tuple[tuple[str, str], ...] = (
    ("tools", r"tool|function[_ ]call"),
    ("schema", r"response_format|json_schema|guided|structured|grammar"),
    ("extensions", r"stop_token_ids|chat_template_kwargs|mm_processor|extra (?:inputs|fields)"
     r"|unknown (?:field|argument|parameter)|unrecognized"),
)  # fmt: skip
_REFUSALS = {400, 404, 405, 415, 422, 500, 501}
_WINDOW = re.compile(
    r"(?:maximum context length is|available context size \(|context (?:length|window) of)\s*(\d+)"
)
_PROMPT = re.compile(
    r"prompt contains (?:at least )?(\d+)|(?:requested|has|request \()\s*(\d+) tokens"
)
_TOO_LONG = re.compile(
    r"maximum context length|context size|context window|input_tokens|too long|max_total_tokens",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Server:
    """One server that may think: where it is, and what it was seen to do and to lack."""

    config: EndpointConfig
    model: str = ""
    window: int = 0  # tokens; 0: not known yet
    stand_in: bool = False
    token: Token | None = None
    tokenize: bool = True
    tools: bool = True
    schema: bool = True
    extensions: bool = True
    counter: TokenCounter = field(default_factory=TokenCounter)
    _brain: Brain | None = None

    @property
    def name(self) -> str:
        """Return how the server is announced."""
        return f"the stand-in {self.model}" if self.stand_in else self.model

    def brain(self) -> Brain:
        """Return the client, made when it is first needed: it is slow to import."""
        if self._brain is None:
            from agent.model import Brain

            self._brain = Brain(self.config, model=self.model, token=self.token)
        return self._brain

    async def close(self) -> None:
        """Close the connections."""
        if self._brain is not None:
            await self._brain.close()
            self._brain = None

    def learn_from(self, error: BrainDown, *, tools: bool, schema: bool) -> str:
        """Return what a refusal shows the server to lack, and note it; empty if nothing new."""
        if error.status not in _REFUSALS or _TOO_LONG.search(error.body):
            return ""
        asked = {"tools": tools, "schema": schema, "extensions": True}
        for name, pattern in _LOST:
            if asked[name] and getattr(self, name) and re.search(pattern, error.body, re.I):
                setattr(self, name, False)
                return name
        return ""


class Servers:
    """The servers that a session has talked to; what was learnt of one stays learnt."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Server] = {}

    def get(
        self,
        config: EndpointConfig,
        model: str,
        *,
        stand_in: bool = False,
        token: Callable[[EndpointConfig], Token | None] = lambda _: None,
    ) -> Server:
        """Return the server at this address, known or new."""
        key = (config.url, model)
        if key not in self._known:
            self._known[key] = Server(config, model, stand_in=stand_in, token=token(config))
        return self._known[key]

    async def close(self) -> None:
        """Close every connection."""
        for server in self._known.values():
            await server.close()
        self._known.clear()


def overflow(error: BrainDown) -> tuple[int, int] | None:
    """Return window and prompt tokens of a refusal for length, 0 where it does not say."""
    if error.status not in {400, 413, 422} or not _TOO_LONG.search(error.body):
        return None
    window, prompt = _WINDOW.search(error.body), _PROMPT.search(error.body)
    counted = next((int(part) for part in (prompt.groups() if prompt else ()) if part), 0)
    return int(window[1]) if window else 0, counted


async def read_card(server: Server) -> None:
    """Read model and window where they are not known yet; a server that says nothing keeps 0."""
    from tools.vllm.answers import endpoint_client, fetch

    if server.model and server.window:
        return
    seconds = server.config.limits.health
    bearer = await server.token() if server.token else ""
    if bearer == NO_TOKEN:
        bearer = ""
    async with endpoint_client(server.config, bearer or None) as client:
        answer = await fetch(client, "/v1/models", seconds=seconds)
        card = _first(_json(answer.body)) if answer.status == 200 else {}
        server.model = server.model or str(card.get("id", ""))
        server.window = _number(card.get("max_model_len")) or _number(
            (card.get("meta") or {}).get("n_ctx") if isinstance(card.get("meta"), dict) else 0
        )
        for path, names in _CARDS.items() if answer.status == 200 and not server.window else ():
            told = await fetch(client, path, seconds=seconds)
            if told.status == 200 and (found := _named(_json(told.body), names)):
                server.window = found
                break
    if answer.status == 200 and not server.window:
        server.window = DEFAULT_WINDOW


def _first(card: Any) -> dict[str, Any]:
    rows = card.get("data") if isinstance(card, dict) else None
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def _named(value: Any, names: tuple[str, ...]) -> int:
    for name in names:
        found = value
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if number := _number(found):
            return number
    return 0


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
