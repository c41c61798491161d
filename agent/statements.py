"""An answer in Markdown, cut into the statements that can be checked one by one.

Nothing is lost: the pieces put together again are the answer, to the character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

PieceKind = Literal["sentence", "label", "code", "quote", "blank"]

_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?")
_QUOTE = re.compile(r"^\s{0,3}>")
_RULE = re.compile(r"^\s*(?:[-*_=]\s*){3,}$|^\s*\|?[\s:|-]+\|[\s:|-]*$")
# What may follow a full stop and still belongs to the sentence: closing marks, and its ids.
_TAIL = re.compile(r"[\"'”’)\]*_`]*(?:[ \t]*[\[(]E\d{1,4}(?:[,; ]+(?:and )?E\d{1,4})*[\])])*\.?")
_SHORT = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|etc|cf|approx|resp|no|fig|incl|ca)|\b[A-Z])$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer: ``lead`` stays whatever happens to ``text``.

    A ``label`` is a heading, or a line that ends with a colon; ``code`` is a whole fenced block
    and ``quote`` a whole block of ``>`` lines, marks included.
    """

    kind: PieceKind
    text: str
    lead: str = ""


def split_answer(answer: str) -> list[Piece]:
    """Return the pieces of an answer, in order."""
    return list(_pieces(answer))


def _pieces(answer: str) -> Iterator[Piece]:
    lines = answer.split("\n")
    at = 0
    while at < len(lines):
        feed = "\n" if at else ""
        line = lines[at]
        if fence := _FENCE.match(line):
            end = at + 1
            while end < len(lines) and not lines[end].strip().startswith(fence.group(1)):
                end += 1
            yield Piece("code", "\n".join(lines[at : end + 1]), feed)
            at = end + 1
        elif _QUOTE.match(line):
            end = at
            while end < len(lines) and _QUOTE.match(lines[end]):
                end += 1
            yield Piece("quote", "\n".join(lines[at:end]), feed)
            at = end
        elif not line.strip() or _RULE.match(line):
            yield Piece("blank", line, feed)
            at += 1
        elif heading := _HEADING.match(line):
            yield Piece("label", line[heading.end() :], feed + heading.group())
            at += 1
        elif line.startswith("|") and at + 1 < len(lines) and _RULE.match(lines[at + 1]):
            yield Piece("label", line, feed)  # the head of a table
            at += 1
        else:
            item = _ITEM.match(line)
            lead = item.group() if item else ""
            end = at + 1
            while end < len(lines) and _continues(lines[end]) and "|" not in line[:1]:
                end += 1
            yield from _sentences("\n".join(lines[at:end])[len(lead) :], feed + lead)
            at = end


def _continues(line: str) -> bool:
    return bool(line.strip()) and not any(
        mark.match(line) for mark in (_FENCE, _QUOTE, _HEADING, _ITEM, _RULE)
    )


def _sentences(text: str, lead: str) -> Iterator[Piece]:
    start = 0
    for end in [*_ends(text), len(text)]:
        sentence = text[start:end]
        body = sentence.lstrip()
        if not body:
            continue
        whole = lead + sentence[: len(sentence) - len(body)]
        yield Piece(
            "label" if body.rstrip().rstrip("*_").endswith(":") else "sentence", body, whole
        )
        start, lead = end, ""
    if start < len(text) or not text:
        yield Piece("blank", text[start:], lead)


def _ends(text: str) -> Iterator[int]:
    """Yield where sentences end; a stop inside quotation marks or backticks ends none."""
    code = quoted = False
    skip = 0
    for index, char in enumerate(text):
        if index < skip:
            continue
        if char == "`":
            code = not code
        elif code:
            continue
        elif char == '"':
            quoted = not quoted
        elif char == "“":
            quoted = True
        elif char == "”":
            quoted = False
        closes = char in ".!?" and quoted and text[index + 1 : index + 2] in ('"', "”")
        if char not in ".!?" or (quoted and not closes):
            continue
        if char == "." and _SHORT.search(text[max(0, index - 8) : index]):
            continue
        tail = _TAIL.match(text, index + 1)
        end = tail.end() if tail else index + 1
        if end >= len(text) or text[end].isspace():
            if closes and not text[end:].lstrip()[:1].isupper():
                continue
            yield end
            skip, quoted = end, False
