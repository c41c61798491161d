"""Find the template of each of many lines without masking each of them.

A line's first key is its bytes with every run of digits written "0"; the second has each word
that holds a digit written "0", kept digits apart. Equal keys mean equal templates, because
``masking.template_of`` is a function of either, so only a second key not met before is masked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from tools.logs.masking import (
    CLEAN,
    MARKERS,
    SEPARATORS,
    Shape,
    clean,
    fill,
    fill_shape,
    mark_versions,
    second_key,
    shape_of,
    skeleton_of,
    templates_of,
)
from tools.logs.pattern_chunk import Chunk
from tools.logs.pattern_formats import mark_all_formats
from tools.logs.pattern_merge import MANY_CODES

MAX_TEMPLATES = 50_000  # about 25 MB; a log with more distinct templates is not a log of messages
OVERFLOW = 0  # the number of lines past that: counted, not told apart
_CACHE = 32_768  # keys held; of 200 bytes, about 10 MB. Fresh ids would fill it for ever
# In which chunks first keys are learnt: of the first ones in each second, later seldom
_ALWAYS, _SELDOM = 16, 8
_FEW = 1 / 16  # the share of a chunk's lines below which all that are missed are held
_BY_HAND = 24  # lines for which arrays cost more than they save

_MISS = -1
_ZERO = ord("0")
_CLEAN_LINES = bytes(ord(CLEAN.get(code, chr(code))) if code != 10 else 10 for code in range(256))
_COLLAPSE = bytes.maketrans(b"0123456789", b"0000000000")
_DROP = b"\0"
_VARIES = re.compile(f"(0|[{re.escape(MARKERS)}]|\x1f)")
_IS_SEPARATOR = bytes(chr(code) in SEPARATORS + "\n" for code in range(256))
Ids = NDArray[np.int32]


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
        # … of those, what had so many kept codes that further ones were not told apart
        self.amounts: set[str] = set()
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
        if len(self._kept) > _CACHE:  # not within a chunk, whose ids point into it
            self._first.clear()
            self._second.clear()
            self._kept.clear()
            self._anyhow = np.zeros(0, dtype=np.int32)
        keys = _lines(collapse(chunk.blob, dirty=chunk.dirty), chunk.count)
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
        seconds = encode_keys(missed, by_hand=len(missed) <= _BY_HAND)
        numbers = list(map(self._second.get, seconds, repeat(_MISS)))
        if _MISS in numbers:
            for index, number in enumerate(numbers):
                if number == _MISS:
                    numbers[index] = self._mask(seconds[index])
        ids[misses] = numbers
        self._remember(missed, numbers, chunk.count)

    def _remember(self, missed: list[bytes], numbers: list[int], count: int) -> None:
        """Hold the first keys that will be met again."""
        if len(self._first) + len(missed) > _CACHE:
            self._first.clear()
        if self._chunks == 1 or len(missed) < count * _FEW:
            self._first.update(zip(missed, numbers, strict=True))
        elif self._missed:
            # Many are missed: ids that no other line has. A key missed twice has none
            found = dict(zip(missed, numbers, strict=True))
            self._first.update((key, found[key]) for key in self._missed.intersection(missed))
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
                if not any(allowed):  # an id where a code might stand: no reason to give up codes
                    return self._add(general)
                if len(kept.seen) >= MANY_CODES:
                    self.amounts.add(general)
                    number = kept.anyhow = self._add(general)
                    self._anyhow[self._kept.index(kept)] = number
                else:
                    number = self._add(kept.template(allowed), general)
                    kept.seen[allowed] = number
            if None not in allowed and kept.anyhow is None:
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
    digit = text - _ZERO  # below "0" wraps around to above 10
    np.less(digit, 10, out=digit.view(np.bool_))
    keep = np.empty_like(text)
    keep[:1] = 255
    np.logical_and(digit[1:], digit[:-1], out=keep[1:].view(np.bool_))
    keep[1:] -= 1  # 0 for a digit after a digit, 255 for all else
    keep &= text
    return keep.tobytes().translate(_COLLAPSE, _DROP)


def _lines(blob: bytes, count: int) -> list[bytes]:
    """Return the lines of a blob without carriage returns; faster than ``split``."""
    lines = blob.splitlines()
    if len(lines) < count:  # the last one is empty
        lines.append(b"")
    return lines


def encode_keys(keys: Sequence[bytes], *, by_hand: bool) -> list[bytes]:
    """Return the second keys of first keys, one by one or with arrays: they are the same."""
    return [second_key(key) for key in keys] if by_hand else mask_words(keys)


def mask_words(keys: Sequence[bytes]) -> list[bytes]:
    """Return the first keys with formats marked and each other word that holds a "0" as "0"."""
    blob = mark_versions(b"\n".join(keys) + b"\n")
    marked = mark_all_formats(blob)
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
    return _lines(text[keep].tobytes()[:-1], len(keys))
