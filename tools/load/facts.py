"""What a load run must know of the endpoint before it starts, and keeps as its provenance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.config import EndpointConfig
from tools.errors import EndpointError, EndpointNonsense, EndpointRefused, EndpointStalled
from tools.vllm.answers import MAX_METRICS, Answer, endpoint_client, fetch
from tools.vllm.metrics import EndpointMetrics, parse_metrics


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Who answers, and what bounds a request; 0 and None where the endpoint does not say."""

    model: str
    max_model_len: int = 0
    kv_tokens: int = 0
    vllm_version: str = ""
    running: float | None = None
    waiting: float | None = None


async def read_facts(config: EndpointConfig, token: str | None = None) -> EndpointFacts:
    """Ask /v1/models, /version and /metrics at once.

    Raises EndpointError where the first does not answer, or does not serve the model that the
    configuration names.
    """
    seconds = config.limits.health
    async with endpoint_client(config, token) as client:
        models, version, metrics = await asyncio.gather(
            fetch(client, "/v1/models", seconds=seconds),
            fetch(client, "/version", seconds=seconds),
            fetch(client, "/metrics", seconds=seconds, limit=MAX_METRICS),
        )
    name, window = _model(models, config)
    seen = _metrics(metrics)
    told = _json(version) if version.status == 200 else {}
    return EndpointFacts(
        model=name,
        max_model_len=window,
        kv_tokens=kv_tokens(seen.cache_config) if seen else 0,
        vllm_version=str(told.get("version", "")) if isinstance(told, dict) else "",
        running=seen.running if seen else None,
        waiting=seen.waiting if seen else None,
    )


def kv_tokens(cache_config: Mapping[str, str]) -> int:
    """Return the tokens that the KV cache holds, 0 if ``vllm:cache_config_info`` does not say.

    vLLM 0.32 prints ``kv_cache_size_tokens``. Before that only blocks are told, and blocks times
    block size is the pool of one group of layers: for a hybrid model it bounds from above.
    """
    size = cache_config.get("kv_cache_size_tokens", "")
    if size.isdigit():
        return int(size)
    blocks, block = cache_config.get("num_gpu_blocks", ""), cache_config.get("block_size", "")
    return int(blocks) * int(block) if blocks.isdigit() and block.isdigit() else 0


def _model(answer: Answer, config: EndpointConfig) -> tuple[str, int]:
    if answer.silence == "stalled":
        raise EndpointStalled(f"{config.url} {answer.detail}.", fix="Try again when it answers.")
    if answer.silence:
        raise EndpointRefused(
            f"{config.url} can't be reached: {answer.detail}.", fix="Check the URL and the service."
        )
    if answer.status != 200:
        raise EndpointError(
            f"{config.url}/v1/models answered {answer.line}.",
            fix="A load run needs an endpoint that serves.",
            status=answer.status,
        )
    told = _json(answer)
    rows = told.get("data") if isinstance(told, dict) else None
    cards = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = [str(card.get("id", "")) for card in cards]
    if not cards or not names[0]:
        raise EndpointNonsense(f"{config.url}/v1/models names no model.")
    if config.model and config.model not in names:
        raise EndpointError(
            f"The endpoint does not serve {config.model!r}; it serves {', '.join(names)}.",
            fix="Give one of these with --model.",
        )
    card = cards[names.index(config.model) if config.model else 0]
    window = card.get("max_model_len")
    length = window if isinstance(window, int) and not isinstance(window, bool) else 0
    return str(card["id"]), max(length, 0)


def _metrics(answer: Answer) -> EndpointMetrics | None:
    if answer.status != 200:
        return None
    try:
        return parse_metrics(answer.body)
    except EndpointNonsense:
        return None


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
