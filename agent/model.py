"""The model: AsyncOpenAI's stream → deltas and one reply, or the reason why there is none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import httpx2
import openai

from agent.messages import CONTROL_TEXT, BrainDown, Message, Reply, parse_call
from tools.config import EndpointConfig
from tools.errors import GemmaSreError

OnDelta = Callable[[str, str], None]  # (kind: content | reasoning, text)
OnStall = Callable[[float], None]

# Gemma 4 ends a turn with <turn|>, id 106; an engine that does not stop there talks to itself.
_STOP_TOKEN_IDS = [106]
_RUNAWAY = re.compile(r"\n(?:<start_of_turn>)?user\n")


class Brain:
    """A client of one OpenAI-compatible endpoint."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        model: str,
        token: Callable[[], Awaitable[str]] | None = None,
        thinking: bool = False,
    ) -> None:
        self._limits = config.limits
        self._model = model
        self._thinking = thinking
        self._client = openai.AsyncOpenAI(
            base_url=f"{config.url}/v1",
            api_key=token or config.api_key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(
                config.limits.answer, connect=config.limits.connect, read=config.limits.answer
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
    ) -> Reply:
        """Ask once and stream the reply; raises BrainDown with the reason when none comes."""
        options: dict[str, Any] = {"tools": list(tools)} if tools else {}
        try:
            async with asyncio.timeout(self._limits.answer):
                stream = await self._wait(
                    self._client.chat.completions.create(
                        model=self._model,
                        messages=cast("Any", list(messages)),
                        max_tokens=max_tokens,
                        stream=True,
                        stream_options={"include_usage": True},
                        extra_body={
                            "stop_token_ids": _STOP_TOKEN_IDS,
                            "chat_template_kwargs": {"enable_thinking": self._thinking},
                        },
                        **options,
                    ),
                    on_stall,
                )
                return await self._assemble(stream, on_delta, on_stall)
        except TimeoutError as error:
            raise BrainDown(str(error) or self._too_long("finish its answer", "answer")) from error
        except openai.APIStatusError as error:
            raise BrainDown(_status_reason(error)) from error
        except openai.APITimeoutError as error:
            raise BrainDown(self._too_long("answer", "answer")) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise BrainDown(f"the endpoint can't be reached: {str(cause)[:200]}") from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise BrainDown(f"the reply broke off: {str(error)[:200]}") from error
        except (ValueError, AttributeError, TypeError) as error:
            # What the client raises for a stream whose JSON is cut or has another shape.
            raise BrainDown(
                f"the reply was not what the protocol allows: {str(error)[:120]}"
            ) from error
        except GemmaSreError as error:
            raise BrainDown(str(error)) from error

    async def _assemble(self, stream: Any, on_delta: OnDelta, on_stall: OnStall) -> Reply:
        content: list[str] = []
        reasoning: list[str] = []
        parts: dict[int, dict[str, str]] = {}
        finish, prompt_tokens, completion_tokens = "", 0, 0
        shown = _Shown(lambda text: on_delta("content", text))
        async with stream:
            chunks = aiter(stream)
            while True:
                try:
                    chunk = await self._wait(anext(chunks), on_stall)
                except StopAsyncIteration:
                    break
                if chunk.usage is not None:
                    prompt_tokens = chunk.usage.prompt_tokens
                    completion_tokens = chunk.usage.completion_tokens
                if not chunk.choices:
                    continue
                delta = chunk.choices[0].delta
                thought = getattr(delta, "reasoning", None) or getattr(
                    delta, "reasoning_content", None
                )
                if thought:
                    reasoning.append(thought)
                    on_delta("reasoning", thought)
                if delta.content:
                    content.append(delta.content)
                    shown.feed(delta.content)
                for piece in delta.tool_calls or ():
                    part = parts.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
                    part["id"] = part["id"] or piece.id or ""
                    if piece.function is not None:
                        part["name"] += piece.function.name or ""
                        part["arguments"] += piece.function.arguments or ""
                finish = chunk.choices[0].finish_reason or finish
        shown.close()
        if not finish:
            raise BrainDown("the stream ended in the middle of the reply")
        text = _RUNAWAY.split("".join(content))[0]
        calls = tuple(parse_call(index, part) for index, part in sorted(parts.items()))
        return Reply(text, "".join(reasoning), calls, finish, prompt_tokens, completion_tokens)

    async def _wait(self, awaitable: Awaitable[Any], on_stall: OnStall) -> Any:
        # The stall is shown after `stall` seconds; after `first_token` seconds it is the end.
        task = asyncio.ensure_future(awaitable)
        waited = 0.0
        try:
            while True:
                step = min(self._limits.stall, self._limits.first_token - waited)
                if step <= 0:
                    raise TimeoutError(self._too_long("send a token", "first_token"))
                done, _ = await asyncio.wait({task}, timeout=step)
                if done:
                    return task.result()
                waited += step
                on_stall(waited)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _too_long(self, what: str, limit: str) -> str:
        return f"the model did not {what} within {getattr(self._limits, limit):g} s"


class _Shown:
    """Pass an answer on as it streams; from the first control token on nothing more is shown."""

    _LONGEST = 16  # characters: longer than any control token

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._held = ""
        self._raw = False

    def feed(self, text: str) -> None:
        if self._raw:
            return
        self._held += text
        found = CONTROL_TEXT.search(self._held)
        if found is not None:
            self._raw, ready = True, found.start()
        else:
            # What may be the beginning of a control token waits for its end.
            opener = self._held.rfind("<", -self._LONGEST)
            ready = len(self._held) if opener < 0 else opener
        if ready:
            self._emit(self._held[:ready])
        self._held = self._held[ready:]

    def close(self) -> None:
        if self._held and not self._raw:
            self._emit(self._held)


def _status_reason(error: openai.APIStatusError) -> str:
    body = error.response.text[:2000] if error.response.is_closed else ""
    kind = error.response.headers.get("content-type", "")
    status = error.status_code
    if "html" in kind or body.lstrip().lower().startswith(("<html", "<!doctype")):
        return (
            f"Google's front end answers HTTP {status} with an HTML page:"
            " the caller may not invoke the service"
        )
    if status == 429 and "no available instance" in body:
        return "Cloud Run answers HTTP 429: no available instance"
    if status in {500, 502, 503, 504}:
        return f"the endpoint answers HTTP {status}"
    return f"the endpoint answers HTTP {status}: {str(error.message)[:200]}"
