"""Parser of the Logging query language: text → a tree of And, Or, Not, Compare, Text, LogId.

Grammar and precedence (NOT, then OR, then AND; two terms side by side are ANDed) follow
docs.cloud.google.com/logging/docs/view/logging-query-language. Left out, and refused with a clear
message: SEARCH, source(), sample(), ip_in_net(), cast() and regexp_extract().
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.simulator.filter_tokens import FilterError, Token, syntax_error, tokenize

#: "query <= 20,000 characters": docs.cloud.google.com/logging/quotas
MAX_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold; true for a field that is missing."""

    part: Node


@dataclass(frozen=True, slots=True)
class Compare:
    """A field compared with a value; ``raw`` is the value as written between its quotes."""

    path: tuple[str, ...]
    op: str
    value: str
    quoted: bool = False
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A bare word or string: it occurs in any field."""

    text: str


@dataclass(frozen=True, slots=True)
class LogId:
    """``log_id("run.googleapis.com/stderr")``: the entry's log has this id, decoded."""

    id: str


Node = And | Or | Not | Compare | Text | LogId

_KEYWORDS = {"AND", "OR", "NOT"}
_UNSUPPORTED = {"SEARCH", "source", "sample", "ip_in_net", "cast", "regexp_extract"}


def parse_filter(source: str) -> Node | None:
    """Return the filter's tree, None for an empty filter. Raises FilterError."""
    if len(source) > MAX_LENGTH:
        raise FilterError(f"The filter is too long: at most {MAX_LENGTH} characters are allowed.")
    parser = _Parser(source)
    if parser.at_end():
        return None
    node = parser.conjunction()
    if not parser.at_end():
        raise syntax_error(source, parser.peek)
    return node


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.index = 0
        self.depth = 0

    @property
    def peek(self) -> Token:
        return self.tokens[self.index]

    def at_end(self) -> bool:
        return self.tokens[self.index].kind == "end"

    def take(self) -> Token:
        token = self.tokens[self.index]
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def keyword(self, word: str) -> bool:
        if self.peek.kind == "word" and self.peek.text == word:
            self.take()
            return True
        return False

    def conjunction(self, field: tuple[Token, str] | None = None) -> Node:
        self.depth += 1
        if self.depth > 100:
            raise FilterError("Unparseable filter: nested too deeply")
        parts = [self.disjunction(field)]
        while self.peek.kind not in {"end", ")"}:
            self.keyword("AND")
            parts.append(self.disjunction(field))
        self.depth -= 1
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def disjunction(self, field: tuple[Token, str] | None) -> Node:
        parts = [self.negation(field)]
        while self.keyword("OR"):
            parts.append(self.negation(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def negation(self, field: tuple[Token, str] | None) -> Node:
        negative = False
        while self.peek.kind == "-" or (self.peek.kind == "word" and self.peek.text == "NOT"):
            self.take()
            negative = not negative
        inner = self.primary(field)
        return Not(inner) if negative else inner

    def primary(self, field: tuple[Token, str] | None) -> Node:
        token = self.take()
        if token.kind == "(":
            inner = self.conjunction(field)
            self.close()
            return inner
        if token.kind not in {"word", "string"} or (
            token.kind == "word" and token.text in _KEYWORDS
        ):
            raise syntax_error(self.source, token)
        if field is not None:
            return _compare(field[0], field[1], token)
        if token.kind == "word" and self.peek.kind == "(" and self.peek.start == token.end:
            return self.function(token)
        if self.peek.kind == "op":
            return self.comparison(token)
        return Text(token.text)

    def comparison(self, path: Token) -> Node:
        operator = self.take()
        if path.kind != "word":
            raise syntax_error(self.source, operator)
        if self.peek.kind == "(":
            self.take()
            inner = self.conjunction((path, operator.text))
            self.close()
            return inner
        sign = ""
        if self.peek.kind == "-":
            sign = self.take().text
        value = self.take()
        if value.kind not in {"word", "string"}:
            raise syntax_error(self.source, value)
        if sign:
            value = Token("word", sign + value.text, value.start, value.end)
        if self.peek.kind == "op":
            raise syntax_error(self.source, self.peek)
        return _compare(path, operator.text, value)

    def function(self, name: Token) -> Node:
        if name.text in _UNSUPPORTED:
            raise FilterError(f"Unparseable filter: the simulation does not know {name.text}()")
        if name.text != "log_id":
            raise FilterError(f"Unparseable filter: unknown function '{name.text}'")
        self.take()
        argument = self.take()
        if argument.kind != "string":
            raise syntax_error(self.source, argument)
        self.close()
        return LogId(argument.text)

    def close(self) -> None:
        token = self.take()
        if token.kind != ")":
            raise syntax_error(self.source, token)


def _compare(path: Token, op: str, value: Token) -> Compare:
    if op in {"=~", "!~"} and value.kind != "string":
        raise FilterError(
            "Unparseable filter: regular expressions must begin and end with '\"', "
            f"token '{value.text}'"
        )
    if any(segment == "" for segment in path.segments):
        raise FilterError(f"Unparseable filter: Field not found: '{path.text}'")
    return Compare(path.segments, op, value.text, value.kind == "string", value.raw)
