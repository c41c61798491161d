"""Error answers of vLLM 0.32 and of Cloud Run's front end, shaped as recorded or reported."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Reply:
    """An HTTP answer. ``chunks`` makes it a stream; it may stop, stall or cut before its end.

    ``delay`` is real seconds between chunks.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    chunks: list[bytes] | None = None
    ending: str = "complete"  # complete | stall | cut
    delay: float = 0.0
    headers: list[tuple[str, str]] = field(default_factory=list)


class BadRequest(Exception):
    """A request that vLLM refuses; carries the answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body.decode())
        self.reply = reply


def json_reply(value: Any, status: int = 200) -> Reply:
    """Return a JSON answer, compact as uvicorn's is."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(status, body)


def error_reply(message: str, kind: str, param: str | None, status: int) -> Reply:
    """Return vLLM's error body."""
    error = {"message": message, "type": kind, "param": param, "code": status}
    return json_reply({"error": error}, status)


def bad_request(message: str, param: str, value: object | None = None) -> BadRequest:
    """Return a 400 of vLLM's own checks."""
    shown = f" (parameter={param}, value={value})" if value is not None else ""
    return BadRequest(error_reply(message + shown, "BadRequestError", param, 400))


def missing_field(where: str, count: int) -> BadRequest:
    """Return the 400 of a request that lacks a field."""
    message = (
        "1 validation error:\n  {'type': 'missing', 'loc': '" + where + "', 'msg': "
        "'Field required', 'input': '<dict of " + str(count) + " items>'}"
    )
    return BadRequest(error_reply(message, "Bad Request", where, 400))


def bad_json(position: int) -> BadRequest:
    """Return the 400 of a body that is not JSON."""
    where = f"body.{position}"
    message = (
        "1 validation error:\n  {'type': 'json_invalid', 'loc': '" + where + "', 'msg': 'JSON "
        "decode error', 'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}"
    )
    return BadRequest(error_reply(message, "Bad Request", where, 400))


def unknown_model(model: str, known: str) -> BadRequest:
    """Return the 404 of a model that the server does not serve."""
    message = f"The model `{model}` does not exist. Valid aliases: {known}."
    return BadRequest(error_reply(message, "NotFoundError", "model", 404))


def _page(status: int, title: str, heading: str, text: str) -> Reply:
    html = (
        '\n<html><head>\n<meta http-equiv="content-type" content="text/html;charset=utf-8">\n'
        f"<title>{status} {title}</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n"
        f"<h1>Error: {heading}</h1>\n<h2>{text}</h2>\n<h2></h2>\n</body></html>\n"
    )
    return Reply(status, html.encode(), "text/html; charset=UTF-8")


def front_end_forbidden(path: str) -> Reply:
    """Return the page with which Google's front end refuses a caller without run.invoker."""
    return _page(
        403,
        "Forbidden",
        "Forbidden",
        f"Your client does not have permission to get URL <code>{path}</code> from this server.",
    )


def front_end_no_instance() -> Reply:
    """Return the 429 of a service at its maximum of instances."""
    return _page(
        429,
        "Too Many Requests",
        "Too Many Requests",
        "The request was aborted because there was no available instance.",
    )


def front_end_starting(status: int) -> Reply:
    """Return the 500 or 503 of a service whose instance is not up yet."""
    if status == 503:
        return Reply(503, b"Service Unavailable", "text/plain")
    return _page(
        500,
        "Server Error",
        "Server Error",
        "The server encountered an error and could not complete your request."
        "<p>Please try again in 30 seconds.",
    )
