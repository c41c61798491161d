"""Parser of Cloud Monitoring's filters, the part that lists of series and descriptors need.

Grammar: cloud.google.com/monitoring/api/v3/filters. Terms are joined by AND (or side by side), a
term may be negated, and OR joins terms on the same selector only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import re2

from tools.simulator.filter_tokens import FilterError, Token, syntax_error, tokenize
from tools.simulator.names import MetricName, Names

_FUNCTIONS = {"starts_with", "ends_with", "has_substring", "one_of", "monitoring.regex.full_match"}


@dataclass(frozen=True, slots=True)
class Term:
    """``selector op value`` or ``selector op function(values)``; selectors are normalised."""

    selector: str  # metric.type, metric.labels.X, resource.type, resource.labels.X, project
    op: str
    values: tuple[str, ...]
    function: str = ""
    negated: bool = False

    def holds(self, value: str | None) -> bool:
        """Say whether a value, None when the label is absent, satisfies the term."""
        text = value or ""
        match self.function:
            case "":
                hit = self._compare(text)
            case "starts_with":
                hit = text.startswith(self.values[0])
            case "ends_with":
                hit = text.endswith(self.values[0])
            case "has_substring":
                hit = self.values[0] in text
            case "one_of":
                hit = text in self.values
            case _:
                hit = re2.fullmatch(self.values[0], text) is not None
        if self.op == "!=":
            hit = not hit
        return hit != self.negated

    def _compare(self, text: str) -> bool:
        wanted = self.values[0]
        if self.op == ":":
            return wanted in text
        if self.op in {"=", "!="}:
            return text == wanted
        try:
            left, right = float(text), float(wanted)
        except ValueError:
            return False
        return {
            ">": left > right,
            ">=": left >= right,
            "<": left < right,
            "<=": left <= right,
        }[self.op]


@dataclass(frozen=True, slots=True)
class MonitoringFilter:
    """All groups must hold; of a group, any term."""

    groups: tuple[tuple[Term, ...], ...]

    def matches(self, values: Mapping[str, str]) -> bool:
        """Say whether selectors → values satisfy the filter."""
        return all(
            any(term.holds(values.get(term.selector)) for term in group) for group in self.groups
        )

    def terms(self) -> tuple[Term, ...]:
        """Return every term."""
        return tuple(term for group in self.groups for term in group)

    def exact(self, selector: str) -> str:
        """Return the value that the filter demands of a selector with ``=``, or nothing."""
        for group in self.groups:
            if len(group) == 1:
                term = group[0]
                plain = term.op == "=" and not term.function and not term.negated
                if term.selector == selector and plain:
                    return term.values[0]
        return ""


def parse_monitoring_filter(source: str) -> MonitoringFilter:
    """Return the filter. Raises FilterError."""
    return MonitoringFilter(tuple(_Parser(source).groups()))


def check_series_filter(parsed: MonitoringFilter, names: Names) -> MetricName:
    """Return the one metric that a list of time series asks for. Raises FilterError.

    The texts are those that users of the real service reported; an unknown metric is refused with
    400 here (prometheus-community/stackdriver_exporter#28), later reports show 404.
    """
    metric_type = parsed.exact("metric.type")
    if not metric_type:
        raise FilterError(
            'The supplied filter does not specify a single metric type: use metric.type = "TYPE".'
        )
    metric = names.metrics.get(metric_type)
    if metric is None:
        raise FilterError(
            "The provided filter doesn't refer to any known metric: "
            f'metric.type = "{metric_type}".'
        )
    resource = parsed.exact("resource.type")
    if resource and resource not in metric.resources:
        raise FilterError(
            "The supplied filter does not specify a valid combination of metric and monitored "
            "resource descriptors. The query will not return any time series."
        )
    resources = [resource] if resource else metric.resources
    known = {label for name in resources for label in names.resources[name]}
    for term in parsed.terms():
        kind, _, label = term.selector.partition(".labels.")
        if kind == "metric" and label and label not in metric.labels:
            raise FilterError(f"The metric {metric_type} has no label '{label}'.")
        if kind == "resource" and label and label not in known:
            raise FilterError(f"The monitored resource has no label '{label}'.")
    return metric


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.index = 0

    @property
    def peek(self) -> Token:
        return self.tokens[self.index]

    def at_end(self) -> bool:
        return self.tokens[self.index].kind == "end"

    def take(self) -> Token:
        token = self.tokens[self.index]
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def error(self, token: Token) -> FilterError:
        text = str(syntax_error(self.source, token)).removeprefix("Unparseable filter: ")
        return FilterError(f'Field filter had an invalid value of "{self.source[:200]}": {text}')

    def groups(self) -> list[tuple[Term, ...]]:
        found: list[tuple[Term, ...]] = []
        while not self.at_end():
            found.append(self.group())
            if self.word("AND") and self.at_end():
                raise self.error(self.peek)
        return found

    def group(self) -> tuple[Term, ...]:
        if self.peek.kind == "(":
            self.take()
            terms = self.group()
            if self.take().kind != ")":
                raise self.error(self.tokens[self.index - 1])
            return terms
        terms = (self.term(),)
        while self.word("OR"):
            terms = (*terms, self.term())
        if len({term.selector for term in terms}) > 1:
            raise FilterError("OR may only join restrictions on the same field.")
        return terms

    def word(self, text: str) -> bool:
        if self.peek.kind == "word" and self.peek.text == text:
            self.take()
            return True
        return False

    def term(self) -> Term:
        negated = self.word("NOT")
        if self.peek.kind == "-":
            self.take()
            negated = not negated
        field = self.take()
        if field.kind != "word":
            raise self.error(field)
        selector = _selector(field)
        operator = self.take()
        if operator.kind != "op" or operator.text in {"=~", "!~"}:
            raise self.error(operator)
        value = self.take()
        if value.kind == "-":
            value = self.take()
            return Term(selector, operator.text, ("-" + value.text,), "", negated)
        if value.kind == "word" and self.peek.kind == "(":
            return Term(selector, operator.text, self.arguments(value), value.text, negated)
        if value.kind not in {"word", "string"} or value.text in {"AND", "OR", "NOT"}:
            raise self.error(value)
        return Term(selector, operator.text, (value.text,), "", negated)

    def arguments(self, function: Token) -> tuple[str, ...]:
        if function.text not in _FUNCTIONS:
            raise FilterError(f"Unknown function '{function.text}' in filter.")
        self.take()
        values: list[str] = []
        while True:
            value = self.take()
            if value.kind not in {"string", "word"}:
                raise self.error(value)
            values.append(value.text)
            separator = self.take()
            if separator.kind == ")":
                break
            if separator.kind != ",":
                raise self.error(separator)
        if function.text != "one_of" and len(values) != 1:
            raise FilterError(f"{function.text} takes one argument.")
        if function.text == "monitoring.regex.full_match":
            try:
                re2.compile(values[0])
            except re2.error:
                raise FilterError(f"Invalid regular expression '{values[0]}'.") from None
        return tuple(values)


def _selector(token: Token) -> str:
    parts = token.segments
    if parts in {("metric", "type"), ("resource", "type"), ("project",)}:
        return ".".join(parts)
    labelled = len(parts) == 3 and parts[1] in {"label", "labels"} and parts[2]
    if labelled and parts[0] in {"metric", "resource"}:
        return f"{parts[0]}.labels.{parts[2]}"
    raise FilterError(f"Field filter had an invalid value: unknown selector '{token.text}'")
