"""The same reading of a response as ``http_response``, by llhttp where httptools is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tools.load.http_response import HttpError

INSTALLED = find_spec("httptools") is not None
_httptools: Any = import_module("httptools") if INSTALLED else None


class HttptoolsReader:
    """What ``ResponseReader`` is, four times as fast on streams of small chunks."""

    __slots__ = ("_open", "_parser", "_parts", "_unframed", "complete", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0
        self.keep_alive = True
        self.complete = False
        self._unframed = True
        self._open = False
        self._parts: list[bytes] = []
        self._parser: Any = _httptools.HttpResponseParser(self)

    def reset(self) -> None:
        """Get ready for the next response."""
        if not (self.complete and self.keep_alive):
            self._parser = _httptools.HttpResponseParser(self)
        self.status = 0
        self.complete = False
        self._unframed = True
        self._open = False

    def end(self) -> bool:
        """Take note that the connection closed; tell whether that ended the message rightly."""
        if self._open and self._unframed:
            self.complete = True
        return self.complete

    def feed(self, data: bytes) -> bytes:
        """Return the body bytes in ``data``; raises HttpError."""
        if self.complete:
            raise HttpError("bytes after the end of the answer")
        try:
            self._parser.feed_data(data)
        except (_httptools.HttpParserError, _httptools.HttpParserUpgrade) as error:
            raise HttpError(str(error) or "the answer is not HTTP/1.1") from error
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note how the body is framed."""
        key = name.lower()
        if key == b"content-length":
            self._unframed = False
        elif key == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise HttpError("a transfer coding that was not asked for")
            self._unframed = False

    def on_headers_complete(self) -> None:
        """Take the status."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self.keep_alive = bool(self._parser.should_keep_alive())
        self._open = True

    def on_body(self, body: bytes) -> None:
        """Keep body bytes."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note the end, unless it was an interim response's."""
        if self._open:
            self.complete = True
