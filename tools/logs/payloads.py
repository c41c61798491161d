"""The words of an entry, whichever payload carries them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tools.logs.caller_text import known_method, known_path

# Where structured loggers put the words; vLLM's JSON logging and google-cloud-logging: message.
_MESSAGE_FIELDS = ("message", "msg", "textPayload", "log", "event", "text", "error")
# What a structured entry repeats of its envelope.
_ENVELOPE = frozenset(
    {
        "severity",
        "level",
        "levelname",
        "lvl",
        "time",
        "timestamp",
        "asctime",
        "ts",
        "@type",
        "logger",
    }
)
# Fields that echo a request.
_CALLER_FIELDS = frozenset(
    {"prompt", "messages", "headers", "body", "request_body", "input", "query", "url", "path",
     "user_agent", "useragent", "referer", "request_id", "requestid", "x_request_id", "completion",
     "response", "output"}
)  # fmt: skip
_MAX_EXTRA = 2_000  # characters of extra fields; the message is never cut here


class Words(NamedTuple):
    """An entry's text before canonicalisation, and what it names beside it."""

    text: str
    severity: object = None
    method: str = ""
    trace: str = ""  # a stack trace that follows the message


def text_words(payload: object) -> Words:
    """Return the words of a textPayload."""
    return Words(payload if isinstance(payload, str) else compact(payload))


def json_words(payload: Mapping[str, Any]) -> Words:
    """Return the words of a jsonPayload: its message, then its other fields as ``name=value``."""
    message = ""
    used = ""
    for name in _MESSAGE_FIELDS:
        value = payload.get(name)
        if isinstance(value, str) and value:
            message, used = value, name
            break
    severity = next(
        (payload[name] for name in ("severity", "level", "levelname", "lvl") if name in payload),
        None,
    )
    trace = next(
        (
            payload[name]
            for name in ("stack_trace", "exc_info", "exception", "traceback", "stack")
            if isinstance(payload.get(name), str)
        ),
        "",
    )
    skipped = _ENVELOPE | {used, "stack_trace", "exc_info", "exception", "traceback", "stack"}
    extras = []
    for name, value in payload.items():
        if name in skipped:
            continue
        shown = (
            "⟨value⟩" if str(name).lower().replace("-", "_") in _CALLER_FIELDS else compact(value)
        )
        extras.append(f"{name}={shown}")
    extra = " ".join(extras)[:_MAX_EXTRA]
    # Extra fields stand on the message's first line, so that a traceback in it stays whole.
    first, feed, rest = message.partition("\n")
    text = " ".join(part for part in (first, extra) if part) + feed + rest
    return Words(text, severity, "", trace)


def audit_words(payload: Mapping[str, Any]) -> Words:
    """Return the words of an AuditLog: the refusal, what was called, on what.

    Cloud Run's system events carry the state of a revision in
    ``response.status.conditions``; the condition Ready says why it can't serve.
    """
    method = _string(payload.get("methodName"))
    status = payload.get("status")
    message = _string(status.get("message")) if isinstance(status, Mapping) else ""
    code = status.get("code") if isinstance(status, Mapping) else None
    parts = [message]
    for reason, text in _failed_conditions(payload.get("response")):
        if text and text not in message:
            parts.append(f"{reason}: {text}" if reason else text)
        elif reason:
            parts.append(f"reason={reason}")
    parts.append(f"method={method}" if method else "")
    parts.append(f"resource={payload['resourceName']}" if payload.get("resourceName") else "")
    parts.append(f"code={code}" if isinstance(code, int) and code else "")
    return Words(" ".join(part for part in parts if part), None, method)


def _failed_conditions(response: object) -> Iterable[tuple[str, str]]:
    status = response.get("status") if isinstance(response, Mapping) else None
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for condition in conditions if isinstance(conditions, list) else ():
        if (
            isinstance(condition, Mapping)
            and condition.get("type") == "Ready"
            and condition.get("status") == "False"
        ):
            yield _string(condition.get("reason")), _string(condition.get("message"))


def request_words(request: Mapping[str, Any]) -> Words:
    """Return the words of an HTTP request entry: method, route and status.

    Path, query, agent and referrer are the caller's; only routes that vLLM serves are named.
    """
    method = known_method(_string(request.get("requestMethod")) or "GET")
    try:
        url = urlsplit(_string(request.get("requestUrl")))
        path = known_path(url.path + ("?" if url.query else ""))
    except ValueError:
        path = "⟨path⟩"
    latency = _string(request.get("latency"))
    seconds = (
        latency if latency.endswith("s") and latency[:-1].replace(".", "", 1).isdigit() else ""
    )
    status = http_status(request)
    return Words(" ".join(part for part in (method, path, str(status or ""), seconds) if part))


# What Cloud Run's front end says of a request in the entry's textPayload (its troubleshooting
# page, 2026); the rest of that text is advice.
_FRONT_END = (
    "The request was aborted because there was no available instance.",
    "The request failed because either the HTTP response was malformed or connection to the"
    " instance had an error.",
    "The request has been terminated because it has reached the maximum request timeout.",
    "The request was not authenticated.",
    "The request was not authorized to access this service.",
    "Truncated response body.",
)


def front_end_verdict(text: object) -> str:
    """Return the sentence with which Cloud Run explains a failed request, empty if none."""
    if not isinstance(text, str):
        return ""
    return next((words for words in _FRONT_END if text.startswith(words)), "")


def http_status(request: Mapping[str, Any]) -> int | None:
    """Return the HTTP status of a request entry, if it has a plausible one."""
    status = request.get("status")
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    return status if isinstance(status, int) and 100 <= status <= 599 else None


def compact(value: object, depth: int = 0) -> str:
    """Return a JSON value on one line, strings bare, containers three levels deep."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        if depth == 3:
            return "{…}"
        return "{" + ", ".join(f"{k}: {compact(v, depth + 1)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[…]" if depth == 3 else "[" + ", ".join(compact(v, depth + 1) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
