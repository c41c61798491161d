"""One question to the model with statistics: what came, when, and how fast."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import orjson

from tools.config import EndpointConfig
from tools.errors import (
    EndpointError,
    EndpointNonsense,
    EndpointRefused,
    EndpointStalled,
    UsageError,
)
from tools.load.client import Inbox, Patience, Slot
from tools.load.driver import MAX_CONNECTING
from tools.load.endpoint import LoadTarget, load_target
from tools.load.prompts import RequestShape
from tools.load.records import NS, Outcome
from tools.load.statistics import Distribution, describe
from tools.load.stream import Exchange, Listener
from tools.measure.windows import Reading, window
from tools.vllm.answers import MAX_METRICS, endpoint_client, fetch
from tools.vllm.metrics import EndpointMetrics, parse_metrics

MAX_IMAGE = 20 * 1024 * 1024  # bytes
_IMAGE_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


@dataclass(frozen=True, slots=True)
class QueryStats:
    """An answer and its figures; times in milliseconds, None where there was nothing to time.

    ``tpot`` is per token after the first; ``chunk_gap`` between chunks, which are not tokens.
    ``queue_ms`` is what the server's own histogram says of the requests that began during this
    one; ``alone`` tells whether that was this one only.
    """

    outcome: str
    answer: str
    reasoning: str
    finish_reason: str
    ttft_reasoning: float | None
    ttft_content: float | None
    total: float
    chunk_gap: Distribution | None
    tpot: float | None
    tokens_per_s: float | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    chunks: int
    queue_ms: float | None = None
    alone: bool | None = None
    detail: str = ""
    tool_calls: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = asdict(self)
        told["chunk_gap"] = self.chunk_gap.to_json() if self.chunk_gap else None
        return told


async def query_with_stats(
    config: EndpointConfig,
    prompt: str,
    *,
    max_tokens: int = 512,
    thinking: bool | None = None,
    temperature: float | None = None,
    images: Sequence[str | Path] = (),
    token: str | None = None,
    listener: Listener | None = None,
    read_server: bool = True,
) -> QueryStats:
    """Ask once and return the answer with its figures; ``listener`` gets the text as it comes.

    Raises EndpointError where no answer began, UsageError for an image that can't be used. A
    stream that broke in the middle returns, with its outcome and what had come.
    """
    if not prompt.strip():
        raise UsageError("There is no question.")
    if not config.model:
        raise UsageError("The model is not known.", fix="Give --model.")
    content: Any = prompt
    if images:
        content = [{"type": "text", "text": prompt}, *(_image(Path(one)) for one in images)]
    shape = RequestShape(
        config.model, max_tokens, ignore_eos=False, thinking=thinking, temperature=temperature
    )
    body = orjson.dumps(shape.payload([{"role": "user", "content": content}]))
    before = await _reading(config, token, 0.0) if read_server else None
    said: dict[str, list[str]] = {"content": [], "reasoning": [], "tool": []}

    def hear(kind: str, text: str) -> None:
        said[kind].append(text)
        if listener is not None:
            listener(kind, text)

    limits = config.limits
    patience = Patience(limits.connect, limits.first_token, limits.stall, limits.answer)
    exchange = await ask_once(load_target(config, token), body, patience, hear)
    after = await _reading(config, token, 1.0) if before else None
    _raise_unanswered(exchange, config)
    return _stats(exchange, said, before, after)


async def ask_once(
    target: LoadTarget, body: bytes, patience: Patience, listener: Listener | None = None
) -> Exchange:
    """Send one request on a connection of its own and return how it went; never raises for it."""
    driver = _Once(target, patience, body, listener)
    slot = Slot(driver)
    slot.open(target.ssl_context())
    tick = min(max(min(patience.first_byte, patience.stall, patience.total) / 10, 0.01), 0.2)
    try:
        while not driver.over.is_set():
            try:
                await asyncio.wait_for(driver.over.wait(), tick)
            except TimeoutError:
                slot.check(_now())
    finally:
        slot.close()
    return driver.exchange


class _Once:
    """The driver of a single request."""

    def __init__(
        self, target: LoadTarget, patience: Patience, body: bytes, listener: Listener | None
    ) -> None:
        self.target = target
        self.patience = patience
        self.inbox = Inbox()
        self.connecting = asyncio.Semaphore(MAX_CONNECTING)
        self.over = asyncio.Event()
        self.exchange = Exchange(0, _now(), listener)
        self._body = body

    def ready(self, slot: Slot) -> None:
        slot.begin(self.exchange, self._body)

    def ended(self, slot: Slot, exchange: Exchange) -> None:
        del slot, exchange
        self.over.set()

    def refused(self, slot: Slot, why: str) -> None:
        del slot
        self.exchange.sent = _now()
        self.exchange.fail(Outcome.REFUSED, why)
        self.exchange.finish_at(_now(), whole=False)
        self.over.set()

    def idle_lost(self, slot: Slot) -> None:
        del slot


def _raise_unanswered(exchange: Exchange, config: EndpointConfig) -> None:
    if exchange.times:
        return
    match exchange.outcome:
        case Outcome.REFUSED | Outcome.RESET:
            raise EndpointRefused(
                f"{config.url} gave no connection: {exchange.detail}.", fix="Is it running?"
            )
        case Outcome.TIMEOUT | Outcome.STALLED:
            raise EndpointStalled(f"{config.url} did not answer: {exchange.detail}.")
        case Outcome.RATE_LIMITED | Outcome.UNAVAILABLE | Outcome.HTTP_ERROR:
            raise EndpointError(
                f"The endpoint refused the question: {exchange.detail}.", status=exchange.status
            )
        case Outcome.GARBAGE:
            raise EndpointNonsense(f"The answer is no event stream: {exchange.detail}.")
        case _:
            return


def _stats(
    exchange: Exchange,
    said: dict[str, list[str]],
    before: Reading | None,
    after: Reading | None,
) -> QueryStats:
    import numpy as np

    sent, times = exchange.sent, exchange.times
    span = (times[-1] - times[0]) / NS if times else 0.0
    tokens = exchange.completion_tokens
    queue, alone = _queue(before, after)
    return QueryStats(
        outcome=exchange.outcome.label,
        answer="".join(said["content"]),
        reasoning="".join(said["reasoning"]),
        finish_reason=exchange.finish,
        ttft_reasoning=_ms(exchange.first_reasoning, sent),
        ttft_content=_ms(exchange.first_content, sent),
        total=(exchange.done - sent) / 1e6,
        chunk_gap=describe(np.diff(np.asarray(times, dtype=float)) / 1e6),
        tpot=span * 1000 / (tokens - 1) if tokens > 1 and span > 0 else None,
        tokens_per_s=(tokens - 1) / span if tokens > 1 and span > 0 else None,
        prompt_tokens=exchange.prompt_tokens,
        completion_tokens=tokens,
        reasoning_tokens=exchange.reasoning_tokens,
        chunks=len(times),
        queue_ms=queue,
        alone=alone,
        detail=exchange.detail,
        tool_calls=tuple(said["tool"]),
    )


def _queue(before: Reading | None, after: Reading | None) -> tuple[float | None, bool | None]:
    if before is None or after is None:
        return None, None
    old, new = before.metrics.queue, after.metrics.queue
    if old is None or new is None or new.count <= old.count:
        return None, None
    if window(before, after).restarted:
        return None, None
    count = new.count - old.count
    return (new.sum - old.sum) / count * 1000, count == 1


async def _reading(config: EndpointConfig, token: str | None, time: float) -> Reading | None:
    metrics = await read_metrics_of(config, token)
    return None if metrics is None else Reading(time, metrics)


async def read_metrics_of(
    config: EndpointConfig, token: str | None = None
) -> EndpointMetrics | None:
    """Return the endpoint's metrics, None where it has none; never raises for the endpoint."""
    async with endpoint_client(config, token) as client:
        answer = await fetch(client, "/metrics", seconds=config.limits.health, limit=MAX_METRICS)
    if answer.status != 200:
        return None
    try:
        return parse_metrics(answer.body)
    except EndpointNonsense:
        return None


def _image(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_IMAGE:
            raise UsageError(f"{path} is larger than {MAX_IMAGE // 2**20} MiB.")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.") from error
    kind = next((name for start, name in _IMAGE_TYPES.items() if data.startswith(start)), "")
    if not kind:
        raise UsageError(f"{path} is not a PNG, JPEG, GIF or WebP image.")
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _ms(later: int, earlier: int) -> float | None:
    return (later - earlier) / 1e6 if later else None


def _now() -> int:

    return monotonic_ns()
