"""An HTTP/1.1 response, read as it comes: status, then body bytes with their framing removed.

Written for one shape, the long stream of small chunks, because the client must not be what is
measured: all chunks of one read are taken out in one pass. Framing follows RFC 9112 (sections 6
and 7); what it forbids is an error here, since a load test has no reason to be lenient.
"""

from __future__ import annotations

import re

MAX_HEAD = 64 * 1024  # bytes
MAX_CHUNK = 64 * 1024 * 1024  # bytes
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: [^\r\n]*)?\Z")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\Z")

_HEAD, _CHUNKS, _LENGTH, _UNTIL_CLOSE, _TRAILER, _COMPLETE = range(6)

# Both are bounded and shared by all connections: heads repeat within a second (the date), sizes
# repeat for ever.
_heads: dict[bytes, tuple[int, int, int, bool]] = {}
_sizes: dict[bytes, int] = {}


class HttpError(Exception):
    """The bytes are not an HTTP response."""


class ResponseReader:
    """Read one response after another from a connection that is never pipelined."""

    __slots__ = ("_left", "_rest", "_state", "keep_alive", "status")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Get ready for the next response."""
        self.status = 0
        self.keep_alive = True
        self._state = _HEAD
        self._rest = b""
        self._left = 0

    @property
    def complete(self) -> bool:
        """Tell whether the message has ended."""
        return self._state == _COMPLETE

    def end(self) -> bool:
        """Take note that the connection closed; tell whether that ended the message rightly."""
        if self._state == _UNTIL_CLOSE:
            self._state = _COMPLETE
        return self._state == _COMPLETE

    def feed(self, data: bytes) -> bytes:
        """Return the body bytes in ``data``; raises HttpError."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        while self._state == _HEAD:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD or not b"HTTP/1.".startswith(data[:7]):
                    raise HttpError("the answer does not begin as HTTP/1.1 does")
                self._rest = data
                return b""
            self._begin(data[:end])
            data = data[end + 4 :]
        match self._state:
            case 1:
                return self._dechunk(data)
            case 2:
                body = data[: self._left]
                self._left -= len(body)
                if not self._left:
                    self._state = _COMPLETE
                if len(data) > len(body):
                    raise HttpError("more bytes than Content-Length")
                return body
            case 3:
                return data
            case 4:
                self._trailer(data)
                return b""
        if data:
            raise HttpError("bytes after the end of the answer")
        return b""

    def _begin(self, head: bytes) -> None:
        known = _heads.get(head)
        if known is None:
            known = _parse_head(head)
            if len(_heads) > 256:
                _heads.clear()
            _heads[head] = known
        self.status, self._state, self._left, self.keep_alive = known

    def _dechunk(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        place, length = 0, len(data)
        left = self._left  # of a chunk that began in an earlier read, its CRLF included
        if left:
            if length < left:
                self._left = left - length
                # The CRLF at the end is framing, wherever the read was cut.
                return data if left - length >= 2 else data[: left - 2]
            _check_crlf(data, left - 2, left)
            if left > 2:
                parts.append(data[: left - 2])
            place, self._left = left, 0
        find, sizes = data.find, _sizes
        while place < length:
            line = find(b"\r\n", place)
            if line < 0:
                if length - place > 1024:
                    raise HttpError("a chunk without a size")
                self._rest = data[place:]
                break
            token = data[place:line]
            size = sizes.get(token, -1)
            if size < 0:
                size = _parse_size(token)
            start = line + 2
            if not size:
                self._state = _TRAILER
                self._trailer(data[start:])
                break
            end = start + size
            if end + 2 <= length:
                if data[end] != 13 or data[end + 1] != 10:
                    raise HttpError("a chunk is longer than its size")
                parts.append(data[start:end])
                place = end + 2
                continue
            parts.append(data[start:end])
            self._left = end + 2 - length
            break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _trailer(self, data: bytes) -> None:
        # Zero or more field lines, then an empty one.
        if data.startswith(b"\r\n"):
            end = 0
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD:
                    raise HttpError("a trailer without an end")
                self._rest = data
                return
            end += 2
        self._state = _COMPLETE
        if len(data) > end + 2:
            raise HttpError("bytes after the end of the answer")


def _check_crlf(data: bytes, start: int, end: int) -> None:
    # ``start`` is negative where an earlier read held the carriage return.
    if data[max(start, 0) : end] != b"\r\n"[max(0, -start) :]:
        raise HttpError("a chunk is longer than its size")


def _parse_size(token: bytes) -> int:
    found = _SIZE.match(token)
    size = int(found[1], 16) if found else MAX_CHUNK + 1
    if size > MAX_CHUNK:
        raise HttpError("a chunk without a size")
    if len(_sizes) < 4096:
        _sizes[token] = size
    return size


def _parse_head(head: bytes) -> tuple[int, int, int, bool]:
    """Return status, state, bytes of the body, and whether the connection stays open."""
    first, *lines = head.split(b"\r\n")
    found = _STATUS.match(first)
    if not found:
        raise HttpError("the answer does not begin as HTTP/1.1 does")
    status = int(found[2])
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise HttpError("a header line without a name")
        key = name.lower()
        value = value.strip()
        if key == b"content-length" and fields.get(key, value) != value:
            raise HttpError("two different Content-Length")
        fields[key] = value
    options = fields.get(b"connection", b"").lower()
    keep = b"close" not in options and (found[1] == b"1" or b"keep-alive" in options)
    if status < 200:
        if status == 101:
            raise HttpError("the server changed the protocol")
        return 0, _HEAD, 0, True
    if status in (204, 304):
        return status, _COMPLETE, 0, keep
    coding = fields.get(b"transfer-encoding", b"").lower()
    if coding:
        if coding != b"chunked":
            raise HttpError("a transfer coding that was not asked for")
        return status, _CHUNKS, 0, keep
    if b"content-length" not in fields:
        return status, _UNTIL_CLOSE, 0, False
    length = fields[b"content-length"]
    if not length.isdigit():
        raise HttpError("a Content-Length that is no number")
    return status, _LENGTH if int(length) else _COMPLETE, int(length), keep
