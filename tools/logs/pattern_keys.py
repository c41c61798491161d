"""Find the template of each of many lines without masking each of them.

A line's first key is its bytes with every run of digits written "0"; the second has each word
that holds a digit written "0", kept digits apart. Equal keys mean equal templates, because
``masking.template_of`` is a function of either, so only a second key not met before is masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from tools.logs.masking import (
    CLEAN,
    MARKERS,
    MAX_CHARS,
    SEPARATORS,
    Shape,
    clean,
    fill,
    fill_shape,
    mark_formats,
    mark_versions,
    shape_of,
    skeleton_of,
    templates_of,
)
from tools.logs.pattern_merge import MANY_CODES

MAX_TEMPLATES = 50_000  # about 25 MB; a log with more distinct templates is not a log of messages
OVERFLOW = 0  # the number of lines past that: counted, not told apart
_CACHE = 32_768  # keys held; of 200 bytes, about 10 MB. Fresh ids would fill it for ever
# In which chunks first keys are learnt: of the first ones in each second, later seldom
_ALWAYS, _SELDOM = 16, 8

_MISS = -1
_ZERO = ord("0")
_CLEAN_LINES = bytes(ord(CLEAN.get(code, chr(code))) if code != 10 else 10 for code in range(256))
_COLLAPSE = bytes.maketrans(b"0123456789", b"0000000000")
_DROP = b"\0"
_VARIES = re.compile(f"(0|[{re.escape(MARKERS)}]|\x1f)")
_IS_SEPARATOR = bytes(chr(code) in SEPARATORS + "\n" for code in range(256))
Ids = NDArray[np.int32]


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
        if chunk.dirty or _has_long_line(chunk.blob):
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


class _Kept:
    """Lines of one shape, in which digits stay: the template numbers of their values.

    ``anyhow`` is the number of the template with none of them, once they proved to be amounts.
    """

    __slots__ = ("anyhow", "cuts", "general", "markers", "numbers", "seen", "shape", "skeleton")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.skeleton = skeleton_of(shape.text)
        self.general: str | None = None
        self.anyhow: int | None = None
        self.numbers: dict[tuple[str, ...], int] = {}
        self.seen: dict[tuple[str | None, ...], int] = {}
        # Around each value: the text before it, back to the last digit, and the character after
        self.cuts: list[tuple[str, str]] = []
        self.markers: list[str] = []
        pieces = _VARIES.split(shape.text.decode())
        for before, marker, after in zip(pieces[::2], pieces[1::2], pieces[2::2], strict=False):
            if marker in shape.words:
                self.cuts.append((before, after[:1]))
                self.markers.append(marker)

    def values(self, text: str) -> tuple[str, ...] | None:
        """Return the line's values; None where its words don't tell where they are."""
        values = []
        for before, after in self.cuts:
            start = text.find(before)
            if start < 0 or not before or text.find(before, start + 1) >= 0:
                return None
            start += len(before)
            values.append(text[start : text.find(after, start)] if after else text[start:])
        return tuple(values)

    def allowed(self, values: tuple[str, ...]) -> tuple[str | None, ...]:
        """Return the values, None for those that may not stay."""
        return tuple(
            value if self.shape.words[marker].fullmatch(value) else None
            for marker, value in zip(self.markers, values, strict=True)
        )

    def template(self, values: tuple[str | None, ...]) -> str:
        """Return the template of the lines with these values, None for a placeholder."""
        named = {marker: value or "" for marker, value in zip(self.markers, values, strict=True)}
        return fill(self.skeleton, named) if all(values) else fill_shape(self.shape, named)


class TemplateIndex:
    """Number the templates of lines in the order they are met; ``templates[n]`` is template n."""

    def __init__(self, max_templates: int = MAX_TEMPLATES) -> None:
        self.max_templates = max_templates
        self.templates: list[str] = [""]  # OVERFLOW's place: never a line's own template
        self.general: dict[str, str] = {}  # templates with kept digits → with placeholders
        self._numbers: dict[str, int] = {}
        # Keys → template, or _MISS - 1 - index into _kept
        self._first: dict[bytes, int] = {}
        self._second: dict[bytes, int] = {}
        self._kept: list[_Kept] = []
        self._anyhow = np.zeros(0, dtype=np.int32)
        self._missed: set[bytes] = set()
        self._chunks = 0

    def assign(self, chunk: Chunk) -> Ids:
        """Return the template number of each line.

        shapes: (chunk.count,)
        """
        self._chunks += 1
        keys = collapse(chunk.blob, dirty=chunk.dirty).split(b"\n")
        ids = np.fromiter(map(self._first.get, keys, repeat(_MISS)), np.int32, len(keys))
        misses = np.flatnonzero(ids == _MISS).tolist()
        if misses:
            self._learn(chunk, keys, ids, misses)
        kept = np.flatnonzero(ids < _MISS)
        if kept.size:
            # Those that proved to be amounts need no look at the line
            ids[kept] = self._anyhow[_MISS - 1 - ids[kept]]
            kept = kept[ids[kept] < _MISS]
        if kept.size:
            plain = clean if chunk.dirty else str
            ids[kept] = [
                self._kept_number(self._kept[number], plain(chunk.text(line)))
                for line, number in zip(
                    kept.tolist(), (_MISS - 1 - ids[kept]).tolist(), strict=True
                )
            ]
        return ids

    def _learn(self, chunk: Chunk, keys: list[bytes], ids: Ids, misses: list[int]) -> None:
        missed = [keys[line] for line in misses]
        seconds = mask_words(missed)
        numbers = list(map(self._second.get, seconds, repeat(_MISS)))
        if _MISS in numbers:
            for index, number in enumerate(numbers):
                if number == _MISS:
                    numbers[index] = self._mask(seconds[index])
        ids[misses] = numbers
        # Only a key missed in two chunks running is held: a fresh id's never is
        if self._chunks == 1:
            self._first.update(zip(missed, numbers, strict=True))
        elif self._missed:
            again = self._missed.intersection(missed)
            if len(self._first) + len(again) > _CACHE:
                self._first.clear()
            if again:
                found = dict(zip(missed, numbers, strict=True))
                self._first.update((key, found[key]) for key in again)
            self._missed = set()
        elif self._chunks < _ALWAYS or self._chunks % _SELDOM == 0:
            self._missed = set(missed)

    def _mask(self, second: bytes) -> int:
        number = self._second.get(second)  # the same chunk may have just added it
        if number is None:
            if len(self._second) >= _CACHE:
                self._second.clear()
                self._first.clear()
            shape = shape_of(second)
            if shape.words:
                number = _MISS - 1 - len(self._kept)
                self._kept.append(_Kept(shape))
                if len(self._kept) > len(self._anyhow):
                    # What is not decided points back to itself
                    more = np.arange(len(self._anyhow), 2 * len(self._kept), dtype=np.int32)
                    self._anyhow = np.concatenate((self._anyhow, _MISS - 1 - more))
            else:
                number = self._add(skeleton_of(second))
            self._second[second] = number
        return number

    def _kept_number(self, kept: _Kept, text: str) -> int:
        if kept.anyhow is not None:
            return kept.anyhow
        values = kept.values(text)
        if values is None:
            template, general = templates_of(text)
            return self._add(template, general)
        number = kept.numbers.get(values)
        if number is None:
            allowed = kept.allowed(values)
            number = kept.seen.get(allowed)
            if number is None:
                if kept.general is None:
                    kept.general = kept.template((None,) * len(values))
                general = kept.general
                if len(kept.seen) >= MANY_CODES:
                    number = kept.anyhow = self._add(general)
                    self._anyhow[self._kept.index(kept)] = number
                else:
                    number = self._add(kept.template(allowed), general)
                kept.seen[allowed] = number
            if None not in allowed:
                kept.numbers[values] = number
        return number

    def _add(self, template: str, general: str | None = None) -> int:
        number = self._numbers.get(template)
        if number is None:
            if len(self._numbers) >= self.max_templates:
                return OVERFLOW
            number = self._numbers[template] = len(self.templates)
            self.templates.append(template)
            if general is not None and general != template:
                self.general[template] = general
        return number


def collapse(blob: bytes, *, dirty: bool = True) -> bytes:
    """Return lines with every run of digits written "0"; of dirty ones, control characters too."""
    if dirty:
        blob = blob.translate(_CLEAN_LINES)
    text = np.frombuffer(blob, dtype=np.uint8)
    digit = (text - _ZERO) < 10  # below "0" wraps around to above 10
    first = np.ones(len(text), dtype=np.uint8)
    np.logical_not(digit[1:] & digit[:-1], out=first[1:].view(np.bool_))
    return (text * first).tobytes().translate(_COLLAPSE, _DROP)


def mask_words(keys: Sequence[bytes]) -> list[bytes]:
    """Return the first keys with formats marked and each other word that holds a "0" as "0"."""
    blob = mark_versions(b"\n".join(keys) + b"\n")
    marked = _mark_formats(blob)
    text = np.frombuffer(marked, dtype=np.uint8).copy()
    ends = np.flatnonzero(np.frombuffer(marked.translate(_IS_SEPARATOR), dtype=np.bool_))
    zeros = np.cumsum(text == _ZERO, dtype=np.int32)[ends]
    words = np.flatnonzero(np.diff(zeros, prepend=0))
    starts = np.where(words > 0, ends[words - 1] + 1, 0)
    # A word's end is a separator and the next word starts after it: no two steps on one place
    step = np.zeros(len(text), dtype=np.int8)
    step[starts] = 1
    step[ends[words]] = -1
    keep = np.cumsum(step, dtype=np.int8) == 0
    text[starts] = _ZERO
    keep[starts] = True
    return text[keep].tobytes()[:-1].split(b"\n")


def _mark_formats(blob: bytes) -> bytes:
    """Return lines, each with a line feed, with ``mark_formats`` done to those that may need it."""
    text = np.frombuffer(blob, dtype=np.uint8)
    zeros = np.flatnonzero(text == _ZERO)
    # Seldom true of both neighbours, so the rest is looked at seldom; the last is a line feed
    zeros = zeros[_LAST_BEFORE[text[zeros - 1]] | _FIRST_AFTER[text[zeros + 1]]]
    if zeros.size:
        zeros = zeros[_may_be_format(text, zeros)]
    if not zeros.size:
        return blob
    feeds = np.flatnonzero(text == ord("\n"))
    lines = np.searchsorted(feeds, zeros)
    lines = lines[np.flatnonzero(np.diff(lines, prepend=-1))]
    starts = np.where(lines > 0, feeds[lines - 1] + 1, 0)
    out = bytearray(blob)
    for start, end in zip(starts.tolist(), feeds[lines].tolist(), strict=True):
        out[start:end] = mark_formats(blob[start:end])  # as long as before
    return bytes(out)


def _pairs(pairs: Iterable[bytes]) -> NDArray[np.bool_]:
    table = np.zeros((256, 256), dtype=np.bool_)
    for first, last in pairs:
        table[first, last] = True
    return table


def _both_cases(pairs: Iterable[bytes]) -> Iterator[bytes]:
    for pair in pairs:
        for first in {pair[:1].lower(), pair[:1].upper()}:
            for last in {pair[1:].lower(), pair[1:].upper()}:
                yield first + last


_APART = [
    bytes((code,)) for code in range(256) if not chr(code).isascii() or not chr(code).isalnum()
]
# The characters before the digits of a format, as two pairs that overlap: fp8, nvfp4, mxfp4,
# float16, bf16, int8, sm_90, compute_90 …
_BEFORE = _pairs(_both_cases((b"fp", b"at", b"bf", b"nt", b"m_", b"e_")))
_BEFORE_THAT = _pairs(
    _both_cases(
        (
            *(b"vf", b"xf", b"oa", b"in", b"sm", b"te"),
            *(apart + letter for apart in _APART for letter in (b"f", b"b")),
        )
    )
)
# … or one letter that starts a word: w4a16, e4m3, q4_0 …
_BEFORE_START = _pairs(
    _both_cases(apart + letter for apart in _APART for letter in (b"w", b"e", b"q"))
)
_AFTER_START = _pairs(
    (*_both_cases((b"a0", b"m0")), *(b"_" + bytes((code,)) for code in range(256)))
)
# … or what comes after them: 4-bit, 4bit
_AFTER = _pairs(_both_cases((b"-b", b"bi")))
_AFTER_THAT = _pairs(_both_cases((b"bi", b"it")))


_LAST_BEFORE = _BEFORE.any(axis=0) | _BEFORE_START.any(axis=0)
_FIRST_AFTER = _AFTER.any(axis=1)


def _may_be_format(text: NDArray[np.uint8], zeros: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say which runs of digits may be kept by ``mark_formats``: all that are, and few more."""
    last = len(text) - 1
    # The text's end, a line feed, is before its start
    before = text[zeros - 2], text[zeros - 1]
    before_that = text[zeros - 3], before[0]
    after = text[np.minimum(zeros + 1, last)], text[np.minimum(zeros + 2, last)]
    after_that = after[1], text[np.minimum(zeros + 3, last)]
    found: NDArray[np.bool_] = (
        (_BEFORE[before] & _BEFORE_THAT[before_that])
        | (_BEFORE_START[before] & _AFTER_START[after])
        | (_AFTER[after] & _AFTER_THAT[after_that])
    )
    return found


def _has_long_line(blob: bytes) -> bool:
    """Say whether a line may be longer than ``MAX_CHARS`` bytes; two looks at each 4 KiB."""
    half = MAX_CHARS // 2
    return any(
        blob.find(b"\n", start, start + half) < 0 for start in range(0, len(blob) - half, half)
    )


def _is_utf8(blob: bytes) -> bool:
    if blob.isascii():
        return True
    try:
        blob.decode()
    except UnicodeDecodeError:
        return False
    return True
