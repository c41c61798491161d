"""Words of the filter languages of Cloud Logging and Cloud Monitoring."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["word", "string", "op", "(", ")", ",", "-", "end"]

_SPACE = re.compile(r"(?:\s+|--[^\n]*)+")
_OP = re.compile(r"=~|!~|!=|<=|>=|=|<|>|:")
_WORD = re.compile(r"[^\s()<>=!:~\"',\\-][^\s()<>=!:~\"',\\]*")
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-7]{1,3}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "b": "\b"}


class FilterError(ValueError):
    """A filter that the service would call unparseable; the text is in the service's manner."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word. A path keeps its segments; ``glued`` means no space before the next token."""

    kind: TokenKind
    text: str
    start: int
    end: int
    segments: tuple[str, ...] = ()
    raw: str = ""  # of a string: its text with the escapes as written, which is what regex wants


def syntax_error(source: str, token: Token) -> FilterError:
    """Return the error for a token that can't stand where it stands."""
    before = source[: token.start]
    line = before.count("\n") + 1
    column = token.start - (before.rfind("\n") + 1) + 1
    shown = token.text if token.kind != "end" else "end of filter"
    return FilterError(
        f"Unparseable filter: syntax error at line {line}, column {column}, token '{shown}'"
    )


def tokenize(source: str) -> list[Token]:
    """Return the tokens of a filter, with an ``end`` token last. Raises FilterError."""
    tokens: list[Token] = []
    at = 0
    while True:
        if space := _SPACE.match(source, at):
            at = space.end()
        if at >= len(source):
            tokens.append(Token("end", "", at, at))
            return tokens
        token = _next(source, at)
        tokens.append(token)
        at = token.end


def _next(source: str, at: int) -> Token:
    char = source[at]
    if char in "(),":
        return Token(char, char, at, at + 1)  # type: ignore[arg-type]
    if char in "\"'":
        return _string(source, at)
    if op := _OP.match(source, at):
        return Token("op", op.group(), at, op.end())
    if char == "-":
        return Token("-", "-", at, at + 1)
    if word := _WORD.match(source, at):
        return _path(source, at, word)
    raise syntax_error(source, Token("word", char, at, at + 1))


def _string(source: str, at: int) -> Token:
    match = _STRING.match(source, at)
    if match is None:
        raise syntax_error(source, Token("word", source[at : at + 20], at, at))
    raw = match.group(1) if match.group(1) is not None else match.group(2)
    return Token("string", _unescape(raw), at, match.end(), raw=raw)


def _unescape(raw: str) -> str:
    def plain(match: re.Match[str]) -> str:
        body = match.group(1)
        if body[0] in "ux" and len(body) > 1:
            return chr(int(body[1:], 16))
        if body.isdigit() and body[0] in "01234567":
            return chr(int(body, 8))
        return _PLAIN.get(body, body)

    return _ESCAPE.sub(plain, raw)


def _path(source: str, at: int, word: re.Match[str]) -> Token:
    # A path may hold quoted segments: labels."compute.googleapis.com/resource_name"
    text, end = word.group(), word.end()
    segments = text.split(".")
    while segments[-1] == "" and source[end : end + 1] in ("'", '"'):
        quoted = _string(source, end)
        segments[-1] = quoted.text
        end = quoted.end
        if source[end : end + 1] != ".":
            break
        rest = _WORD.match(source, end + 1)
        if rest is None:
            segments.append("")
            end += 1
            continue
        segments.extend(rest.group().split("."))
        end = rest.end()
    return Token("word", source[at:end], at, end, tuple(segments))
