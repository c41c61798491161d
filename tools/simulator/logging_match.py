"""Check a parsed Logging filter against the known names, and match entries with it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import re2

from tools.domain import Severity
from tools.simulator.filter_tokens import FilterError
from tools.simulator.logging_filter import And, Compare, LogId, Node, Not, Or, Text
from tools.simulator.names import Names

# Fields of google.logging.v2.LogEntry and of the messages in it, google-cloud-logging 3.17.0;
# None: anything may follow.
_FIELDS: dict[str, tuple[str, ...] | None] = {
    "logName": (),
    "resource": ("type", "labels"),
    "timestamp": (),
    "receiveTimestamp": (),
    "severity": (),
    "insertId": (),
    "httpRequest": (
        "requestMethod",
        "requestUrl",
        "requestSize",
        "status",
        "responseSize",
        "userAgent",
        "remoteIp",
        "serverIp",
        "referer",
        "latency",
        "cacheLookup",
        "cacheHit",
        "cacheValidatedWithOriginServer",
        "cacheFillBytes",
        "protocol",
    ),
    "labels": None,
    "operation": ("id", "producer", "first", "last"),
    "trace": (),
    "spanId": (),
    "traceSampled": (),
    "sourceLocation": ("file", "line", "function"),
    "split": ("uid", "index", "totalSplits"),
    "textPayload": (),
    "jsonPayload": None,
    "protoPayload": None,
    "errorGroups": ("id",),
}
_TIMES = {"timestamp", "receiveTimestamp"}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Match = Callable[[Mapping[str, Any]], bool]


def compile_filter(node: Node | None, names: Names) -> Match:
    """Return a predicate over entries (LogEntry as JSON-like dictionaries, camelCase).

    Raises FilterError for fields, names, operators and values that the service refuses.
    """
    if node is None:
        return lambda _: True
    wanted_types = {
        part.value
        for part in _compares(node)
        if part.path == ("resource", "type") and part.op == "="
    }
    return _build(node, names, wanted_types)


def _compares(node: Node) -> Iterator[Compare]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _compares(part)
        case Not(part):
            yield from _compares(part)
        case Compare():
            yield node


def _build(node: Node, names: Names, types: set[str]) -> Match:
    match node:
        case And(parts):
            tests = [_build(part, names, types) for part in parts]
            return lambda entry: all(test(entry) for test in tests)
        case Or(parts):
            tests = [_build(part, names, types) for part in parts]
            return lambda entry: any(test(entry) for test in tests)
        case Not(part):
            inner = _build(part, names, types)
            return lambda entry: not inner(entry)
        case Text(text):
            needle = text.casefold()
            return lambda entry: any(needle in value.casefold() for value in _strings(entry))
        case LogId(id):
            _known_log(id, names)
            return lambda entry: unquote(str(entry["logName"]).split("/logs/", 1)[-1]) == id
        case Compare():
            return _comparison(node, names, types)


def _comparison(node: Compare, names: Names, types: set[str]) -> Match:
    path = _canonical(node.path)
    _check_names(path, node, names, types)
    if node.op == ":" and node.value == "*" and not node.quoted:
        return lambda entry: any(True for _ in _values(entry, path))
    if path[0] in _TIMES:
        return _by_time(path, node)
    if path == ("severity",):
        return _by_severity(node)
    if node.op in {"=~", "!~"}:
        return _by_regex(path, node)
    if node.op == ":":
        needle = node.value.casefold()
        return lambda entry: any(needle in _text(value) for value in _values(entry, path))
    return _by_value(path, node)


def _canonical(path: tuple[str, ...]) -> tuple[str, ...]:
    head = _camel(path[0])
    if head not in _FIELDS:
        raise FilterError(f"Unparseable filter: Field not found: '{'.'.join(path)}'")
    children = _FIELDS[head]
    if children is None:
        return (head, *path[1:])
    if not children and len(path) > 1:
        raise FilterError(f"Unparseable filter: Field not found: '{'.'.join(path)}'")
    if children and len(path) > 1:
        child = _camel(path[1])
        if child not in children or (len(path) > 2 and child != "labels"):
            raise FilterError(f"Unparseable filter: Field not found: '{'.'.join(path)}'")
        return (head, child, *path[2:])
    return (head,)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _check_names(path: tuple[str, ...], node: Compare, names: Names, types: set[str]) -> None:
    # The real service answers an unknown name with an empty list. A simulation that did so would
    # hide a misspelt name, so it refuses.
    if (
        path == ("resource", "type")
        and node.op in {"=", "!="}
        and node.value not in names.resources
    ):
        raise FilterError(f"Invalid resource type '{node.value}': unknown to the simulation")
    if path[:2] == ("resource", "labels") and len(path) == 3:
        allowed = {
            label
            for name, labels in names.resources.items()
            if not types or name in types
            for label in labels
        }
        if path[2] not in allowed:
            raise FilterError(
                f"Unparseable filter: Field not found: 'resource.labels.{path[2]}'; "
                f"known labels: {', '.join(sorted(allowed))}"
            )
    if path == ("logName",) and node.op in {"=", "!="}:
        _known_log(unquote(node.value.split("/logs/", 1)[-1]), names)
        if "/logs/" not in node.value or "/" in node.value.split("/logs/", 1)[1]:
            raise FilterError(
                f"Invalid log name '{node.value}': it has the form projects/PROJECT/logs/LOG_ID "
                "with the log id URL-encoded"
            )


def _known_log(log_id: str, names: Names) -> None:
    if log_id not in names.logs:
        raise FilterError(f"Invalid log id '{log_id}': unknown to the simulation")


def _by_time(path: tuple[str, ...], node: Compare) -> Match:
    test = _ORDER.get(node.op)
    if test is None:
        raise FilterError(f"Unparseable filter: operator '{node.op}' can't be used on a timestamp")
    try:
        moment = datetime.fromisoformat(node.value)
    except ValueError:
        raise FilterError(
            f"Unparseable filter: invalid timestamp '{node.value}': use RFC 3339 in quotes"
        ) from None
    wanted = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return lambda entry: any(test(value, wanted) for value in _values(entry, path))


def _by_severity(node: Compare) -> Match:
    test = _ORDER.get("=" if node.op == ":" else node.op)
    name = node.value.upper()
    if test is None:
        raise FilterError(f"Unparseable filter: operator '{node.op}' can't be used on severity")
    if name not in Severity.__members__ and not node.value.isdigit():
        raise FilterError(f"Unparseable filter: invalid severity '{node.value}'")
    wanted = int(node.value) if node.value.isdigit() else int(Severity[name])
    # An entry without severity has DEFAULT, 0: this is why severity>=ERROR misses a container's
    # own words.
    return lambda entry: test(int(Severity[entry.get("severity", "DEFAULT")]), wanted)


def _by_regex(path: tuple[str, ...], node: Compare) -> Match:
    # Cloud Logging uses RE2. What stands between the quotes goes to it with \" as the only escape
    # undone, so that \. and \d keep their meaning.
    pattern = node.raw.replace('\\"', '"').replace("\\\\", "\\")
    options = re2.Options()
    options.log_errors = False
    try:
        regex = re2.compile(pattern, options=options)
    except re2.error as error:
        raise FilterError(
            f"Unparseable filter: invalid regular expression '{pattern}': {error}"
        ) from None
    if node.op == "=~":
        return lambda entry: any(regex.search(str(value)) for value in _values(entry, path))
    return lambda entry: any(not regex.search(str(value)) for value in _values(entry, path))


def _by_value(path: tuple[str, ...], node: Compare) -> Match:
    test = _ORDER[node.op]
    wanted_text = node.value.casefold()
    try:
        wanted_number: float | None = float(node.value)
    except ValueError:
        wanted_number = None

    def holds(value: Any) -> bool:
        if isinstance(value, bool):
            return test(str(value).lower(), wanted_text)
        if isinstance(value, int | float):
            return wanted_number is not None and test(float(value), wanted_number)
        return test(_text(value), wanted_text)

    return lambda entry: any(holds(value) for value in _values(entry, path))


def _text(value: Any) -> str:
    return str(value).casefold()


def _values(entry: Any, path: tuple[str, ...]) -> Iterator[Any]:
    # A path may run over lists: it matches if any element does.
    if isinstance(entry, list):
        for item in entry:
            yield from _values(item, path)
    elif not path:
        if not (isinstance(entry, str | Mapping) and not entry):
            yield entry
    elif isinstance(entry, Mapping) and path[0] in entry:
        yield from _values(entry[path[0]], path[1:])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
