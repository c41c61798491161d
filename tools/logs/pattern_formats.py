"""Mark the formats (fp8, int4, sm_90 …) in many lines at once, looking closely at few of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tools.logs.masking import mark_formats

_ZERO = ord("0")


def mark_all_formats(blob: bytes) -> bytes:
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


_LAST_BEFORE = np.asarray(_BEFORE.any(axis=0) | _BEFORE_START.any(axis=0))
_FIRST_AFTER = np.asarray(_AFTER.any(axis=1))
