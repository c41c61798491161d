"""Canonical text: what a record says once it is safe to match, quote and store.

Three passes, each linear in the length of the text: invisible and control characters are
written out (``\\x1b``), secrets are replaced (``redaction.py``), and so is what a caller of the
endpoint controls (``caller_text.py``). The result is a fixed point: canonical text of canonical
text is itself, so a quote can be checked against a record by comparing strings.

What stays: names of resources and service accounts, addresses, paths of files, numbers. They
are what a diagnosis is about.
"""

from __future__ import annotations

import re

import re2

from tools.logs.caller_text import CALLER_HINTS, replace_caller_text
from tools.logs.redaction import SECRET_HINTS, redact_secrets

# One scan decides whether a line can hold anything to replace: two lines in a hundred of a
# real start-up log do.
_HINT = re2.compile("|".join((*SECRET_HINTS, *CALLER_HINTS)))

# Invisible, yet "printable" to Unicode: joiners that draw nothing, blank letters, variation
# selectors. Text hidden in them would reach a model unseen by the person.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

_PASSES = 4  # what one replacement uncovers, the next pass takes; text that never settles is cut


def canonical_text(text: str) -> str:
    """Return the text with secrets, caller-controlled parts and control characters replaced.

    Line feeds and tabs stay (an entry may hold a whole traceback); CR LF becomes LF. Idempotent.
    Patterns run on RE2, so a hostile line costs time in proportion to its length only.
    """
    text = escape_invisible(text)
    if _HINT.search(text) is None:
        return text
    for _ in range(_PASSES):
        replaced = replace_caller_text(redact_secrets(text))
        if replaced == text:
            break
        text = replaced
    return text


def escape_invisible(text: str) -> str:
    """Return the text with control, bidirectional and zero-width characters as escapes.

    ``\\x1b`` for code points below 256, ``\\u202e`` and ``\\U000e0041`` above. Lone surrogates and
    unassigned code points are escaped too, so the result always encodes as UTF-8.
    """
    if text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None):
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").rstrip("\r")
    plain = text.replace("\n", "").replace("\t", "")
    if plain.isprintable() and (plain.isascii() or _UNSEEN.search(plain) is None):
        return text
    return text.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "\n\t" or (character.isprintable() and not _UNSEEN.match(character)):
            shown = character
        elif code < 0x100:
            shown = f"\\x{code:02x}"
        elif code < 0x10000:
            shown = f"\\u{code:04x}"
        else:
            shown = f"\\U{code:08x}"
        self[code] = shown
        return shown


_ESCAPES = _Escapes()
