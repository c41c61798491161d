"""The model: AsyncOpenAI's stream → deltas and one reply, or the reason why there is none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import openai

from agent.messages import BrainDown, Message, Reply, parse_call
from agent.repair import RUNAWAY
from agent.shown import Shown
from tools.config import EndpointConfig
from tools.errors import GemmaSreError

OnDelta = Callable[[str, str], None]  # (kind: content | reasoning, text)
OnStall = Callable[[float], None]

# Gemma 4 ends a turn with <turn|>, id 106; an engine that does not stop there talks to itself.
_STOP_TOKEN_IDS = [106]
# Answers of a server or proxy that may be another one a moment later.
_RETRIED = {429, 500, 502, 503, 504}


class Brain:
    """A client of one OpenAI-compatible endpoint; its connections live until ``close``."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        model: str,
        token: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._limits = config.limits
        self._model = model
        timeout = httpx2.Timeout(
            config.limits.answer, connect=config.limits.connect, read=config.limits.answer
        )
        # Reading the certificate store takes longer than a local answer, and over plain HTTP, with
        # redirects not followed, it is never used.
        plain = urlsplit(config.url).scheme == "http"
        self._client = openai.AsyncOpenAI(
            base_url=f"{config.url}/v1",
            api_key=token or config.api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=httpx2.AsyncClient(
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
                timeout=timeout,
                follow_redirects=False,
            ),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        *,
        max_tokens: int,
        on_delta: OnDelta,
        on_stall: OnStall = lambda _: None,
        thinking: bool = False,
        extensions: bool = True,
        schema: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Ask once and stream the reply; raises BrainDown with the reason when none comes.

        ``extensions`` sends what only vLLM and its kin know. With ``schema`` the reply must be
        JSON of that schema. ``extra`` goes into the body as it is.
        """
        options: dict[str, Any] = {"tools": list(tools)} if tools else {}
        body: dict[str, Any] = dict(extra or {})
        if extensions:
            body["stop_token_ids"] = _STOP_TOKEN_IDS
            body["chat_template_kwargs"] = {"enable_thinking": thinking}
        if schema is not None:
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "step", "schema": dict(schema)},
            }
        heard = _Heard()
        try:
            async with asyncio.timeout(self._limits.answer):
                stream = await self._wait(
                    self._client.chat.completions.create(
                        model=self._model,
                        messages=cast("Any", list(messages)),
                        max_tokens=max_tokens,
                        stream=True,
                        stream_options={"include_usage": True},
                        extra_body=body,
                        **options,
                    ),
                    on_stall,
                    heard,
                )
                return await self._assemble(stream, on_delta, on_stall, heard)
        except TimeoutError as error:
            raise BrainDown(str(error) or self._unfinished(heard)) from error
        except openai.APIStatusError as error:
            raise _refusal(error) from error
        except openai.APITimeoutError as error:
            raise BrainDown(self._unfinished(heard)) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise BrainDown(
                f"the endpoint can't be reached: {str(cause)[:200]}", retry=not heard.pieces
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise BrainDown(f"the reply broke off: {str(error)[:200]}") from error
        except (ValueError, AttributeError, TypeError) as error:
            # What the client raises for a stream whose JSON is cut or has another shape.
            raise BrainDown(
                f"the reply was not what the protocol allows: {str(error)[:120]}"
            ) from error
        except GemmaSreError as error:
            raise BrainDown(str(error)) from error

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> int | None:
        """Return how many tokens the server counts for a request, None if it can't or won't."""
        body: dict[str, Any] = {
            "model": self._model,
            "messages": list(messages),
            "add_generation_prompt": True,
            "chat_template_kwargs": {"enable_thinking": thinking},
        }
        if tools:
            body["tools"] = list(tools)
        url = f"{str(self._client.base_url).rstrip('/').removesuffix('/v1')}/tokenize"
        try:
            async with asyncio.timeout(self._limits.health):
                told = await self._client.post(url, cast_to=object, body=body)
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError, ValueError, TypeError):
            return None
        count = told.get("count") if isinstance(told, dict) else None
        return count if isinstance(count, int) and count > 0 else None

    async def _assemble(
        self, stream: Any, on_delta: OnDelta, on_stall: OnStall, heard: _Heard
    ) -> Reply:
        shown = Shown(lambda text: on_delta("content", text))
        async with stream:
            chunks = aiter(stream)
            while True:
                try:
                    chunk = await self._wait(anext(chunks), on_stall, heard)
                except StopAsyncIteration:
                    break
                said, thought = heard.take(chunk)
                if thought:
                    on_delta("reasoning", thought)
                shown.feed(said)
                if said and heard.ran_away():
                    break  # the rest is the model talking to itself: nobody should pay for it
        shown.close()
        if not heard.finish:
            raise BrainDown(
                f"the stream ended in the middle of the reply, after {heard.pieces} tokens"
            )
        return heard.reply()

    async def _wait(self, awaitable: Awaitable[Any], on_stall: OnStall, heard: _Heard) -> Any:
        # The stall is shown after `stall` seconds; the limit of the silence is the end.
        limit = self._limits.between_tokens if heard.pieces else self._limits.first_token
        task = asyncio.ensure_future(awaitable)
        waited = 0.0
        try:
            while True:
                step = min(self._limits.stall, limit - waited)
                if step <= 0:
                    raise TimeoutError(self._silent(heard, limit))
                done, _ = await asyncio.wait({task}, timeout=step)
                if done:
                    return task.result()
                waited += step
                on_stall(waited)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _silent(self, heard: _Heard, limit: float) -> str:
        if heard.pieces:
            return f"the stream stopped after {heard.pieces} tokens: silence for {limit:g} s"
        return f"the model did not send a token within {limit:g} s"

    def _unfinished(self, heard: _Heard) -> str:
        begun = f"; {heard.pieces} tokens came" if heard.pieces else ""
        return f"the model did not finish its answer within {self._limits.answer:g} s{begun}"


@dataclass(slots=True)
class _Heard:
    """What a stream has brought so far; ``pieces`` counts its deltas, a token or a few each."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    pieces: int = 0
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _places: dict[int, int] = field(default_factory=dict)

    def take(self, chunk: Any) -> tuple[str, str]:
        """Take in a chunk; return what it says and what it thinks."""
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens
        if not chunk.choices:
            return "", ""
        delta = chunk.choices[0].delta
        self.finish = chunk.choices[0].finish_reason or self.finish
        thought = getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None)
        if thought:
            self.reasoning.append(thought)
        if delta.content:
            self.content.append(delta.content)
        for piece in delta.tool_calls or ():
            self._take_call(piece)
        if thought or delta.content or delta.tool_calls:
            self.pieces += 1
        return delta.content or "", thought or ""

    def _take_call(self, piece: Any) -> None:
        # A new id under an old index is a new call: some servers count every call as index 0.
        at = self._places.get(piece.index or 0)
        if at is None or (piece.id and self.calls[at]["id"] not in {"", piece.id}):
            at = self._places[piece.index or 0] = len(self.calls)
            self.calls.append({"id": "", "name": "", "arguments": ""})
        part = self.calls[at]
        part["id"] = part["id"] or piece.id or ""
        if piece.function is not None:
            name = piece.function.name or ""
            # Some repeat the whole name in every piece.
            part["name"] += "" if name == part["name"] else name
            part["arguments"] += piece.function.arguments or ""

    def ran_away(self) -> bool:
        """Tell whether the turn runs on into the next speaker's; ends it there if it does."""
        if RUNAWAY.search("".join(self.content[-8:])) is None:
            return False
        self.finish = self.finish or "stop"
        return True

    def reply(self) -> Reply:
        """Return the reply, not mended yet."""
        calls = tuple(parse_call(part) for part in self.calls)
        return Reply(
            "".join(self.content),
            "".join(self.reasoning),
            calls,
            self.finish,
            self.prompt_tokens,
            self.completion_tokens,
        )


def _refusal(error: openai.APIStatusError) -> BrainDown:
    body = error.response.text[:2000] if error.response.is_closed else ""
    kind = error.response.headers.get("content-type", "")
    status = error.status_code
    retry, after = status in _RETRIED, _seconds(error.response.headers.get("retry-after", ""))
    if "html" in kind or body.lstrip().lower().startswith(("<html", "<!doctype")):
        if status == 429:
            why = "Cloud Run answers HTTP 429: no available instance"
        elif status in {401, 403}:
            why = (
                f"Google's front end answers HTTP {status} with an HTML page:"
                " the caller may not invoke the service"
            )
        else:
            why = f"Google's front end answers HTTP {status} with an HTML page"
    elif status in {500, 502, 503, 504}:
        why = f"the endpoint answers HTTP {status}"
    else:
        why = f"the endpoint answers HTTP {status}: {str(error.message)[:200]}"
    return BrainDown(why, retry=retry, after=after, status=status, body=body)


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0
