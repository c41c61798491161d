"""A rule: one way in which a failure can be recognised, and how it is written in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from runbooks.fields import Fields
from runbooks.pattern import PatternError, compile_pattern
from tools.domain import Scalar

On = Literal["line", "exception", "control_plane", "platform"]
ON: tuple[On, ...] = ("line", "exception", "control_plane", "platform")

KEYS = (
    "line",
    "on",
    "decisive",
    "fact",
    "equals",
    "at_least",
    "at_most",
    "one_of",
    "matches",
    "all",
    "config",
)
SET = "set"  # in ``config``: the option was given, with any value
MAX_DEPTH = 3
_FACT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds when everything that it states holds: its line, its fact, its options, its parts.

    ``line`` is an RE2 expression, searched for in what ``on`` names: the text of a line or
    traceback of the process, one exception (``type: message``), a record or observation of the
    control plane, a record of the platform. ``config`` maps options of the launch, with
    underscores, to the value that they must have, or to "set". A ``decisive`` rule proves its
    cause; any other makes it likely.
    """

    line: str = ""
    on: On = "line"
    decisive: bool = False
    fact: str = ""
    equals: Scalar | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[Scalar, ...] = ()
    matches: str = ""
    all: tuple[Rule, ...] = ()
    config: Mapping[str, Scalar] = field(default_factory=dict)

    def leaves(self) -> tuple[Rule, ...]:
        """Return this rule and its parts, at any depth."""
        return (self, *(leaf for part in self.all for leaf in part.leaves()))

    def accepts(self, value: Scalar) -> bool:
        """Say whether the fact's value is what the rule asks for; any value if it asks nothing."""
        if self.equals is not None and not same(self.equals, value):
            return False
        if self.one_of and not any(same(choice, value) for choice in self.one_of):
            return False
        for bound, sign in ((self.at_least, 1), (self.at_most, -1)):
            if bound is None:
                continue
            if isinstance(value, bool | str) or sign * value < sign * bound:
                return False
        return not self.matches or compile_pattern(self.matches).search(str(value)) is not None


def same(wanted: object, value: object) -> bool:
    """Say whether two values are equal, without taking true for 1."""
    return isinstance(wanted, bool) == isinstance(value, bool) and wanted == value


def read_rule(data: Any, path: str, where: str, depth: int = 0) -> Rule:
    """Return the rule that a mapping of the front matter describes.

    Raises RunbookError: an unknown key, a wrong type, an expression that RE2 refuses, or a rule
    that would hold always or never.
    """
    fields = Fields(data, KEYS, path, where)
    if depth > MAX_DEPTH:
        raise fields.error("", "is nested too deep")
    rule = Rule(
        line=_pattern(fields, "line"),
        on=cast(On, fields.choice("on", ON, "line")),
        decisive=fields.flag("decisive"),
        fact=fields.text("fact", ""),
        equals=fields.scalar("equals", fields.raw("equals")) if fields.has("equals") else None,
        at_least=_number(fields, "at_least"),
        at_most=_number(fields, "at_most"),
        one_of=tuple(fields.scalar("one_of", item) for item in fields.list("one_of")),
        matches=_pattern(fields, "matches"),
        all=tuple(
            read_rule(part, path, f"{where}.all[{index}]", depth + 1)
            for index, part in enumerate(fields.list("all"))
        ),
        config={
            name: fields.scalar(f"config.{name}", value)
            for name, value in fields.mapping("config").items()
        },
    )
    _check(rule, fields, depth)
    return rule


def _pattern(fields: Fields, key: str) -> str:
    pattern = fields.text(key, "")
    if pattern:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            raise fields.error(
                key,
                f"is not a usable expression: {error}",
                "RE2 syntax applies: no look-around and no back-references.",
            ) from error
    return pattern


def _number(fields: Fields, key: str) -> float | None:
    value = fields.raw(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise fields.error(key, f"must be a number, not {value!r}")
    return float(value)


def _check(rule: Rule, fields: Fields, depth: int) -> None:
    compares = any(
        fields.has(key) for key in ("equals", "at_least", "at_most", "one_of", "matches")
    )
    if not (rule.line or rule.fact or rule.all or rule.config):
        raise fields.error("", "states nothing", "Give it a line, a fact, a config or all.")
    if compares and not rule.fact:
        raise fields.error("", "compares a value but names no fact", "Add the fact's name.")
    if rule.fact and not _FACT.fullmatch(rule.fact):
        raise fields.error("fact", f"can't be {rule.fact!r}", "See docs/facts.md for the names.")
    if rule.on != "line" and not rule.line:
        raise fields.error("on", "needs a line to look for")
    if depth and rule.decisive:
        raise fields.error("decisive", "belongs to the whole rule, not to a part of it")
    if rule.config and not (rule.line or rule.fact or rule.all) and rule.decisive:
        # An option alone says what was asked for, not that anything failed.
        raise fields.error("decisive", "can't rest on an option of the launch alone")


def rule_data(rule: Rule) -> dict[str, Any]:
    """Return the mapping that ``read_rule`` reads back as this rule."""
    data: dict[str, Any] = {}
    if rule.on != "line":
        data["on"] = rule.on
    for key in ("line", "fact", "equals", "at_least", "at_most", "matches"):
        value = getattr(rule, key)
        if value not in ("", None) or (key == "equals" and value == ""):
            data[key] = value
    if rule.one_of:
        data["one_of"] = list(rule.one_of)
    if rule.config:
        data["config"] = dict(rule.config)
    if rule.all:
        data["all"] = [rule_data(part) for part in rule.all]
    if rule.decisive:
        data["decisive"] = True
    return data
