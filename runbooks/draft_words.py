"""Words of a message: which of them stay in a signature, and which vary from case to case."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

# Digits that name a kind rather than measure something: number formats, and what follows "exit
# code", "status", "signal", "errno", "HTTP" or "HTTP error". All others vary with the case.
_FORMAT = r"(?:(?:nv|mx)?fp\d+|bf16|b?float\d+|u?int\d+|w\d+a\d+|nf4|q\d_\w{1,4})"
_CODE = (
    r"(?:exit(?:ed)?(?: with)?(?: code| status)?|error code|status(?: code)?|signal|errno"
    r"|HTTP(?: error)?)[ :=(\[]{1,2}\d{1,3}\b"
)
_PARTS = re.compile(
    "|".join(
        f"(?P<{name}>{pattern})"
        for name, pattern in (
            ("keep", rf"(?i:(?<![A-Za-z0-9]){_FORMAT}(?![A-Za-z0-9])|{_CODE})"),
            ("placeholder", r"⟨[^⟩\n]*⟩"),
            ("quoted", r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"),
            ("url", r"https?://[^\s'\"<>)]+"),
            ("card", r"NVIDIA(?: [A-Z0-9][\w-]*){1,7}|\bTPU v\d+\w*"),
            ("module", r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+){2,}|\b\w+_proj\b"),
            ("path", r"(?:/[\w.@+-]+){2,}/?|(?<![\w/])[\w.-]+/[\w.-]+(?:/[\w.-]+)*"),
            ("hex", r"0x[0-9a-fA-F]+|\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b"),
            ("number", r"\d+(?:[.,:]\d+)*"),
            ("space", r"[ \t]{2,}|\t"),
        )
    ),
    re.ASCII,  # as RE2 understands classes
)
_SAMPLES = {  # what a varied line has in place of its values
    "quoted": ("'other.value'", "'x/y-2'"),
    "url": ("https://example.com/v2/other",),
    "card": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "NVIDIA H100 80GB HBM3"),
    "module": ("language_model.layers.41.mlp.gate_up_proj", "model.layers.7.self_attn.qkv_proj"),
    "path": ("other-org/other-model", "/opt/other/place.py"),
    "hex": ("0xfeedbeef00", "00aa11bb22cc33dd"),
    "number": ("7", "120", "98304"),
    "placeholder": ("⟨caller text⟩",),
}
_PATTERNS = {
    "quoted": "['\"`].*?['\"`]",
    "url": r"https?://\S+",
    "card": r"(?:NVIDIA|TPU)(?: [\w-]+){1,7}",
    "module": r"[\w.]+",
    "path": r"[\w./@+-]+",
    "hex": r"(?:0x)?[0-9a-fA-F]+",
    "number": r"\d[\d.,:]*",
    "placeholder": ".*?",
    "space": r"\s+",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message; ``kind`` is "" for words that stay."""

    kind: str
    text: str


def split_words(text: str, values: Collection[str] = ()) -> tuple[Part, ...]:
    """Return the pieces of a message, those that vary told from those that stay.

    ``values`` are texts known to vary, such as the model's name as the launch gave it.
    """
    parts: list[Part] = []
    known = sorted((value for value in values if len(value) > 3), key=len, reverse=True)
    pieces = re.split("(" + "|".join(map(re.escape, known)) + ")", text) if known else [text]
    for index, piece in enumerate(pieces):
        if index % 2:
            parts.append(Part("path" if "/" in piece else "module", piece))
            continue
        at = 0
        for match in _PARTS.finditer(piece):
            if match.start() > at:
                parts.append(Part("", piece[at : match.start()]))
            kind = str(match.lastgroup)
            parts.append(Part("" if kind == "keep" else kind, match[0]))
            at = match.end()
        if at < len(piece):
            parts.append(Part("", piece[at:]))
    return tuple(parts)


def expression(parts: Collection[Part], *, keep_quoted: bool = False) -> str:
    """Return an RE2 expression for the message: its words as they are, its values as classes."""
    out = []
    for part in parts:
        kept = not part.kind or (keep_quoted and part.kind == "quoted")
        out.append(_escape(part.text) if kept else _PATTERNS[part.kind])
    return "".join(out)


def varied(parts: Collection[Part], turn: int, *, keep_quoted: bool = False) -> str:
    """Return the same message with other values: another model, layer, card, size, instance."""
    out = []
    for number, part in enumerate(parts):
        kept = part.kind in ("", "space") or (keep_quoted and part.kind == "quoted")
        samples = _SAMPLES.get(part.kind, ("",))
        out.append(part.text if kept else samples[(turn + number) % len(samples)])
    return "".join(out)


def letters(parts: Collection[Part], *, keep_quoted: bool = False) -> int:
    """Return how many letters of the message stay: a measure of how telling it is."""
    return sum(
        sum(character.isalpha() for character in part.text)
        for part in parts
        if not part.kind or (keep_quoted and part.kind == "quoted")
    )


def _escape(text: str) -> str:
    # RE2 does not know every escape that re.escape writes, such as "\#".
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
