"""Probe a vLLM endpoint: is it up, which model, which window, how busy."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

from tools.config import EndpointConfig
from tools.domain import Gap, Observation, Origin, Probe, Scalar
from tools.errors import EndpointNonsense
from tools.logs.canonical import canonical_text
from tools.vllm.answers import MAX_METRICS, Answer, endpoint_client, fetch
from tools.vllm.metrics import parse_metrics

State = Literal[
    "ready", "starting", "refused", "stalled", "error", "forbidden", "no_instance", "nonsense"
]

MAX_QUOTE = 300  # characters
# What Cloud Run's and Google's own proxies say instead of the container; a 5xx of vLLM itself has
# an empty or a JSON body (vLLM 0.32).
_FRONT_END = (
    "service unavailable",
    "upstream connect error",
    "no healthy upstream",
    "the server encountered a temporary error",
    "no available instance",
    "rate exceeded",
)
_QUOTED_METRICS = (
    "vllm:num_requests_running{",
    "vllm:num_requests_waiting{",
    "vllm:kv_cache_usage_perc{",
    "vllm:gpu_cache_usage_perc{",
)


async def probe_endpoint(config: EndpointConfig, token: str | None = None) -> Probe:
    """Ask /health, /v1/models, /version and /metrics at once, and say in which state it is.

    Raises ConfigurationError for a URL that is none, or a token that would travel in the clear.
    """
    start = monotonic()
    seconds = config.limits.health
    async with endpoint_client(config, token) as client:
        health, models, version, metrics = await asyncio.gather(
            fetch(client, "/health", seconds=seconds),
            fetch(client, "/v1/models", seconds=seconds),
            fetch(client, "/version", seconds=seconds),
            fetch(client, "/metrics", seconds=seconds, limit=MAX_METRICS),
        )
    state, decisive = classify(health, models)
    facts: dict[str, Scalar] = {"endpoint.state": state}
    if health.status:
        facts["endpoint.status"] = health.status
    if message := _caller_error(decisive):
        facts["endpoint.caller_error"] = message
    found = [_observation(decisive, facts)]
    if (told := _model_facts(models)) and state == "ready":
        found.append(_observation(models, told))
    if state in {"ready", "starting", "error"}:
        found += [*_version(version), *_metrics(metrics)]
    return Probe(
        name="endpoint",
        observations=tuple(found),
        gaps=_gaps(state, decisive),
        seconds=monotonic() - start,
    )


def classify(health: Answer, models: Answer) -> tuple[State, Answer]:
    """Return the endpoint's state and the answer that decides it.

    A server without /health (some that speak the same API) is judged by its models alone.
    """
    lead = models if health.status == 404 else health
    state = _state_of(lead)
    if state != "ready" or lead is models:
        return (state, lead) if state != "ready" else _models_state(models)
    state, _ = _models_state(models)
    return (state, models) if state != "ready" else (state, health)


def front_end_page(answer: Answer) -> bool:
    """Tell whether a proxy of Google wrote the body, not the container."""
    body = answer.body.lstrip().lower()
    html = body.startswith(("<!doctype", "<html")) or "text/html" in answer.headers.get(
        "content-type", ""
    )
    return html or any(words in body[:2000] for words in _FRONT_END)


def metric_lines(body: str) -> str:
    """Return the lines of an exposition that say how busy the server is, as a quote."""
    lines = [line for line in body.splitlines() if line.startswith(_QUOTED_METRICS)]
    return canonical_text("\n".join(lines[:4]))[:MAX_QUOTE]


def _models_state(models: Answer) -> tuple[State, Answer]:
    state = _state_of(models)
    if state == "ready" and not _model_facts(models):
        state = "nonsense"
    return state, models


def _state_of(answer: Answer) -> State:
    if answer.silence:
        return answer.silence
    status = answer.status
    if status in {401, 403}:
        return "forbidden"
    if 300 <= status < 400:
        host = urlsplit(answer.headers.get("location", "")).hostname or ""
        return "forbidden" if host == "accounts.google.com" else "error"
    if status == 429:
        return "no_instance" if front_end_page(answer) else "error"
    if status >= 500:
        # llama.cpp's server says 503 "Loading model" while it starts.
        starting = front_end_page(answer) or "loading model" in answer.body.lower()
        return "starting" if starting else "error"
    return "ready" if status == 200 else "error"


def _model_facts(models: Answer) -> dict[str, Scalar]:
    if models.status != 200:
        return {}
    card = _json(models.body)
    rows = card.get("data") if isinstance(card, dict) else None
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return {}
    facts: dict[str, Scalar] = {}
    if isinstance(name := rows[0].get("id"), str) and name:
        facts["endpoint.model"] = canonical_text(name)[:MAX_QUOTE]
    window = rows[0].get("max_model_len")
    if isinstance(window, int) and not isinstance(window, bool) and window > 0:
        facts["endpoint.window"] = window
    return facts


def _version(answer: Answer) -> list[Observation]:
    told = _json(answer.body) if answer.status == 200 else None
    version = told.get("version") if isinstance(told, dict) else None
    if not isinstance(version, str) or not version:
        return []
    return [_observation(answer, {"endpoint.version": canonical_text(version)[:100]})]


def _metrics(answer: Answer) -> list[Observation]:
    if answer.status != 200:
        return []
    try:
        metrics = parse_metrics(answer.body)
    except EndpointNonsense:
        return []
    facts: dict[str, Scalar] = {
        f"vllm.{name}": value
        for name in ("running", "waiting", "kv_usage", "preemptions")
        if (value := getattr(metrics, name)) is not None
    }
    if not facts:
        return []
    quote = metric_lines(answer.body)
    return [Observation("vllm", "GET /metrics", quote, origin=Origin.PROCESS, facts=facts)]


def _observation(answer: Answer, facts: dict[str, Scalar]) -> Observation:
    platform = bool(answer.silence) or front_end_page(answer)
    words = answer.detail if answer.silence else answer.body.strip() or answer.line
    return Observation(
        source="vllm",
        ref=f"GET {answer.path}",
        quote=canonical_text(words)[:MAX_QUOTE],
        origin=Origin.PLATFORM if platform else Origin.PROCESS,
        facts=facts,
    )


def _gaps(state: State, answer: Answer) -> tuple[Gap, ...]:
    why = answer.detail if answer.silence else answer.line
    match state:
        case "ready" | "starting":
            return ()
        case "forbidden":
            fix = (
                "grant roles/run.invoker on the service to the account that gemma-sre runs as"
                if front_end_page(answer) or answer.status == 403
                else "set the endpoint's API key"
            )
            return (Gap("endpoint", f"access refused ({why})", fix),)
        case "no_instance":
            return (Gap("endpoint", f"no instance answered ({why})"),)
        case _:
            return (Gap("endpoint", f"{state}: {canonical_text(why)[:MAX_QUOTE]}"),)


def _caller_error(answer: Answer) -> str:
    if not 400 <= answer.status < 500:
        return ""
    told = _json(answer.body)
    error = told.get("error", told.get("detail")) if isinstance(told, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return canonical_text(message)[:MAX_QUOTE] if isinstance(message, str) else ""


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
