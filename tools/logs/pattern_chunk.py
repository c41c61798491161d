"""A chunk of lines as one text, so that arrays can work on all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.logs.masking import MAX_CHARS


class Chunk:
    """Some lines, as one text of UTF-8 with a line feed between each two."""

    __slots__ = ("_ends", "_texts", "blob", "count", "dirty")

    def __init__(self, blob: bytes, count: int, texts: Sequence[str] | None = None) -> None:
        self.blob = blob
        self.count = count
        self._texts = texts
        self._ends: list[int] | None = None
        # More control characters than its line feeds
        self.dirty = np.count_nonzero(np.frombuffer(blob, dtype=np.uint8) < 32) != count - 1

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> Chunk:
        """Return a chunk of the texts: each cut to ``MAX_CHARS`` and put on one line."""
        chunk = cls("\n".join(texts).encode("utf-8", "replace"), len(texts), texts)
        # A line feed within a text is a control character too many
        if _has_long_line(chunk.blob) or (
            chunk.dirty and chunk.blob.count(b"\n") != len(texts) - 1
        ):
            texts = [text[:MAX_CHARS].replace("\n", " ") for text in texts]
            chunk = cls("\n".join(texts).encode("utf-8", "replace"), len(texts), texts)
        return chunk

    @classmethod
    def from_bytes(cls, blob: bytes) -> Chunk:
        """Return a chunk of the lines of a file's block, without its last line feed."""
        if _has_long_line(blob) or not _is_utf8(blob):
            return cls.from_texts(blob.decode("utf-8", "replace").split("\n"))
        return cls(blob, blob.count(b"\n") + 1)

    def text(self, line: int) -> str:
        """Return a line as it was given."""
        if self._texts is not None:
            return self._texts[line]
        if self._ends is None:
            bytes_ = np.frombuffer(self.blob, dtype=np.uint8)
            self._ends = [-1, *np.flatnonzero(bytes_ == ord("\n")).tolist(), len(self.blob)]
        return self.blob[self._ends[line] + 1 : self._ends[line + 1]].decode()


def _has_long_line(blob: bytes) -> bool:
    """Say whether a line may be longer than ``MAX_CHARS`` bytes; two looks at each 4 KiB."""
    half = MAX_CHARS // 2
    find = blob.find
    for start in range(0, len(blob) - half, half):  # noqa: SIM110 - any() costs more than find()
        if find(b"\n", start, start + half) < 0:
            return True
    return False


def _is_utf8(blob: bytes) -> bool:
    if blob.isascii():
        return True
    try:
        blob.decode()
    except UnicodeDecodeError:
        return False
    return True
