"""Whether what an answer quotes stands where it says, verbatim."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ELLIPSIS = re.compile(r"\s*(?:…|\[…\]|\.{3}|\[\.{3}\])\s*")
_NAME = re.compile(r"[\w.=:/@+]{2,200}")


def stands_in(quoted: str, texts: Iterable[str]) -> bool:
    """Say whether one of the texts holds the quoted words, runs of white space as one.

    Words may be left out where the quote says so (``…``); the rest must stand in that order. The
    stop of the quoting sentence is no part of the quote.
    """
    parts = [" ".join(part.split()).rstrip(".,;:!?") for part in _ELLIPSIS.split(quoted)]
    parts = [part for part in parts if part]
    return bool(parts) and any(_in_order(parts, text) for text in texts)


def is_name_in(quoted: str, texts: Iterable[str]) -> bool:
    """Say whether the quoted words are one name that stands, whole, in one of the texts.

    ``--linear-backend`` of a command line is ``linear_backend`` in a launch and in a log.
    """
    name = _folded(quoted)
    if not _NAME.fullmatch(name):
        return False
    whole = re.compile(rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9_])")
    return any(whole.search(_folded(text)) for text in texts)


def _folded(text: str) -> str:
    return text.lower().replace("-", "_").strip("_ ")


def _in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
