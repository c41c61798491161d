"""The forms that logs come in, told by their content: JSON array, JSON lines, plain, gzipped."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tools.errors import UsageError

Form = Literal["json-array", "json-lines", "json-stream", "plain"]
HEAD = 65_536
MAX_LINE = 262_144  # bytes; Cloud Logging's own limit of an entry is 256 KiB (quotas, 2026)
CHUNK = 1 << 20

_STAMP = re.compile(
    rb"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)[ \t]"
)
_NOT_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")


class LogFile(io.BufferedReader):
    """A log's bytes, decompressed and in UTF-8; ``broken`` says why they ended too soon."""

    def __init__(self, raw: io.RawIOBase, layers: Sequence[io.RawIOBase] = ()) -> None:
        super().__init__(raw, CHUNK)
        self._layers = (raw, *layers)

    @property
    def broken(self) -> str:
        """Return why the data ended before it should have, empty if it did not."""
        return next((why for layer in self._layers if (why := getattr(layer, "broken", ""))), "")


def open_log(path: str) -> LogFile:
    """Return a log for reading, decompressed, ``-`` being standard input.

    Raises UsageError, naming the path, if it is missing, a directory, unreadable or empty.
    """
    file = LogFile(_raw(path))
    try:
        if file.peek(2)[:2] == b"\x1f\x8b":
            packed = _Gunzip(file)
            file = LogFile(packed)
        mark = file.peek(2)[:2]
        if mark in (b"\xff\xfe", b"\xfe\xff"):  # what PowerShell writes for "gcloud … > file"
            file = LogFile(Recoder(file, "utf-16"), file._layers)
            mark = file.peek(2)[:2]
        if not mark:
            why = file.broken
            raise UsageError(
                f"{shown(path)} can't be read: {why}." if why else f"{shown(path)} is empty.",
                fix="Download it again." if why else "Give a log that has entries.",
            )
    except OSError as error:
        file.close()
        raise _unreadable(path, error) from None
    except UsageError:
        file.close()
        raise
    return file


class _Pipe(io.RawIOBase):
    """Standard input in whole buffers: a pipe hands over what was written, be it one byte."""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, as ``io.RawIOBase`` asks; less at the end."""
        filled = 0
        while filled < len(buffer):
            data = os.read(sys.stdin.fileno(), len(buffer) - filled)
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled


def _raw(path: str) -> io.RawIOBase:
    if path == "-":
        return _Pipe()
    file = Path(path)
    try:
        if file.is_dir():
            raise UsageError(f"{shown(path)} is a directory.", fix="Name the log files in it.")
        return io.FileIO(file, "rb")
    except FileNotFoundError:
        raise UsageError(f"{shown(path)} does not exist.", fix="Check the path.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
    return UsageError(
        f"{shown(path)} can't be read: {reason}.", fix="Check it and its permissions."
    )


class _Gunzip(io.RawIOBase):
    """A gzip stream of one or more members; what can be decompressed of a damaged one."""

    def __init__(self, file: BinaryIO) -> None:
        self.broken = ""
        self._file = file
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._input = b""
        self._begun = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Close it and the file below it."""
        self._file.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, as ``io.RawIOBase`` asks; 0 at the end."""
        data = b""
        while not data and not self.broken:
            if self._inflate.eof:
                self._input = self._inflate.unused_data
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._begun = False
            self._input = self._input or self._file.read(CHUNK)
            if not self._input:
                if self._begun:
                    self.broken = "the gzip data ends too soon"
                break
            if not self._begun and not self._input.strip(b"\0"):
                self._input = b""  # padding behind the last member
                continue
            self._begun = True
            try:
                data = self._inflate.decompress(self._input, len(buffer))
            except zlib.error:
                self.broken = "the gzip data is damaged"
                break
            self._input = self._inflate.unconsumed_tail
        buffer[: len(data)] = data
        return len(data)


class Recoder(io.RawIOBase):
    """Text of some encoding as UTF-8; ``replaced`` counts what was no text in that encoding."""

    def __init__(self, file: BinaryIO, encoding: str = "utf-8") -> None:
        self.replaced = 0
        self._file = file
        self._decode = codecs.getincrementaldecoder(encoding)("replace")
        self._waiting = b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Close it and the file below it."""
        self._file.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, as ``io.RawIOBase`` asks; 0 at the end."""
        size = len(buffer)
        ended = False
        while not self._waiting and not ended:
            data = self._file.read(CHUNK)
            ended = not data
            text = self._decode.decode(data, final=ended)
            if "\ufffd" in text:
                self.replaced += text.count("\ufffd")
            self._waiting = text.encode("utf-8", "replace")
        taken = self._waiting[:size]
        self._waiting = self._waiting[size:]
        buffer[: len(taken)] = taken
        return len(taken)


def shown(path: str) -> str:
    """Return a path as a message shows it."""
    return "standard input" if path == "-" else repr(path)


def detect_form(head: bytes, path: str) -> Form:
    """Return the form that a log's first bytes have; raises UsageError for binary data."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        after = text[1:].lstrip()
        if not after or after[:1] in b"{]":
            return "json-array"
    if text.startswith(b"{"):
        # Objects over several lines, as jq prints them, are no JSON lines.
        first, feed, _ = text.partition(b"\n")
        return "json-stream" if feed and not first.rstrip().endswith(b"}") else "json-lines"
    strange = len(_NOT_TEXT.findall(head))
    if strange * 50 > len(head):
        raise UsageError(
            f"{shown(path)} is binary, not a log.",
            fix="Give JSON as gcloud prints it, JSON lines, or plain text, gzipped or not.",
        )
    return "plain"


def is_stamped(head: bytes) -> bool:
    """Tell whether every line begins with a time, as ``docker logs -t`` and ``kubectl`` put it.

    Then a platform wrote the times; a time in front of some lines is part of what was printed.
    """
    lines = [line for line in head.split(b"\n")[:-1] if line.strip()][:200]
    return len(lines) >= 2 and all(_STAMP.match(line) for line in lines)


def split_stamp(line: bytes) -> tuple[str, bytes]:
    """Return the time that a line begins with, empty if none, and the rest."""
    match = _STAMP.match(line)
    if match is None:
        return "", line
    return match[1].decode("ascii").replace(",", "."), line[match.end() :]


class Lines:
    """The lines of a binary file, each at most ``limit`` bytes long.

    ``cut`` counts the lines that were longer, ``longest`` is the length of the longest of those.
    """

    def __init__(self, file: BinaryIO, limit: int = MAX_LINE) -> None:
        self._file = file
        self._limit = limit
        self.cut = 0
        self.longest = 0

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Yield each line without its line feed, and how many bytes of it were dropped."""
        while line := self._file.readline(self._limit):
            if line.endswith(b"\n"):
                yield line[:-1], 0
                continue
            length = len(line)
            while rest := self._file.readline(CHUNK):
                length += len(rest)
                if rest.endswith(b"\n"):
                    length -= 1
                    break
            dropped = length - len(line)
            if dropped:
                self.cut += 1
                self.longest = max(self.longest, length)
            yield line, dropped
