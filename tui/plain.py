"""Foreign text made safe for a terminal, and the glyphs that stand beside a word."""

from __future__ import annotations

import re
import sys

# C0 and C1 controls but newline and tab (terminal escapes begin with one), DEL, the line and
# paragraph separators, and the bidirectional controls that can reorder what is read
# (Unicode Standard Annex 9, section 2).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)

GLYPHS = {
    "healthy": "✓",
    "confirmed": "✗",
    "likely": "≈",
    "insufficient": "?",
    "ok": "✓",
    "failed": "✗",
    "skipped": "–",
    "cancelled": "■",
    "running": "◌",
}
ASCII_GLYPHS = {
    "healthy": "[ok]",
    "confirmed": "[x]",
    "likely": "[~]",
    "insufficient": "[?]",
    "ok": "[ok]",
    "failed": "[x]",
    "skipped": "[-]",
    "cancelled": "[#]",
    "running": "[.]",
}

VERDICT_WORDS = {
    "healthy": "healthy",
    "confirmed": "cause confirmed",
    "likely": "cause likely",
    "insufficient": "not enough evidence",
}


def clean(text: object) -> str:
    """Return the text with every control character but newline shown instead of obeyed."""
    # A lone surrogate can't be encoded, so it would break the output much later.
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    whole = whole.replace("\r\n", "\n").replace("\t", "    ")
    return _UNSAFE.sub(_show, whole)


def one_line(text: object, limit: int = 0) -> str:
    """Return the text cleaned, on one line, cut to ``limit`` characters when that is not 0."""
    line = " ".join(clean(text).split())
    return line if not limit or len(line) <= limit else line[: max(limit - 1, 0)] + "…"


def glyph(state: str, encoding: str = "utf-8") -> str:
    """Return the glyph of a state, in ASCII where the terminal's encoding lacks it."""
    shown = GLYPHS.get(state, "·")
    try:
        shown.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII_GLYPHS.get(state, "[ ]")
    return shown


def write(text: str) -> None:
    """Write to stdout; what its encoding lacks becomes an escape, not an error."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _show(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
