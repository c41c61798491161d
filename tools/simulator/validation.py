"""Everything that can be wrong in a scenario file, with the line where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jsonschema
import yaml

from tools.simulator.names import known_names
from tools.simulator.scenario import Problem, scenario_schema, shipped_row
from tools.simulator.scenario_yaml import compose_yaml, load_yaml
from tools.simulator.timeline import parse_span, parse_time

Path = tuple[str | int, ...]


def find_problems(text: str, label: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the content of a scenario text and its problems, in the order of the file."""
    try:
        row = load_yaml(text)
        tree = compose_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return {}, [Problem(label, mark.line + 1 if mark else 0, f"is not YAML: {error}")]
    if not isinstance(row, dict):
        return {}, [Problem(label, 1, "a scenario is a mapping of fields")]
    if "extends" in row:
        base = shipped_row(str(row.pop("extends")))
        if base is None:
            return {}, [Problem(label, _line(tree, ("extends",)), "extends no shipped scenario")]
        row = base | row
    found = [
        Problem(label, _line(tree, tuple(error.absolute_path)), _schema_message(error))
        for error in jsonschema.Draft202012Validator(scenario_schema()).iter_errors(_plain(row))
    ]
    if not found:
        found = [
            Problem(label, _line(tree, path), f"{_dotted(path)}: {message}")
            for path, message in _meaning(row)
        ]
    return row, sorted(found, key=lambda problem: problem.line)


def _plain(value: Any) -> Any:
    # YAML makes datetimes of timestamps; the schema knows strings.
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _schema_message(error: jsonschema.ValidationError) -> str:
    where = _dotted(tuple(error.absolute_path)) or "scenario"
    return f"{where}: {error.message[:200]}"


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _line(node: yaml.Node | None, path: Path) -> int:
    line = node.start_mark.line + 1 if node else 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                return line
            key, node = pairs[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _meaning(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    # What a schema can't say: times that parse, names that exist, references that resolve.
    now = parse_time(row["now"], datetime.now(UTC))
    yield from _times(row, (), now)
    yield from _services(row)
    yield from _series(row)
    yield from _logs(row)
    expected = row["expected"]
    wanted = {"healthy": 0, "confirmed": 1, "likely": 1, "insufficient": 3}[expected["verdict"]]
    if expected["exit_code"] != wanted:
        yield ("expected", "exit_code"), f"a {expected['verdict']} verdict exits with {wanted}"
    if row["kind"] == "tpu" and not row.get("zone"):
        yield ("kind",), "a tpu scenario needs a zone"
    if row["kind"] == "cloud-run" and not row.get("services"):
        yield ("kind",), "a cloud-run scenario needs a service"


_TIME_KEYS = {"at", "created", "ready_at", "from", "to"}
_SPAN_KEYS = {"every", "step", "latency", "duration", "cold_start"}


def _times(value: Any, path: Path, now: datetime) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = (*path, key)
            if key in {"json", "request", "response", "env", "labels"} and path[:1] == ("logs",):
                continue
            try:
                if key in _TIME_KEYS and not isinstance(item, Mapping | list):
                    parse_time(item, now)
                elif key in _SPAN_KEYS and isinstance(item, str):
                    parse_span(item)
            except ValueError as error:
                yield here, str(error)
            yield from _times(item, here, now)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _times(item, (*path, index), now)


def _services(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for index, service in enumerate(row.get("services", ())):
        names = [revision["name"] for revision in service["revisions"]]
        here: Path = ("services", index)
        if len(set(names)) != len(names):
            yield (*here, "revisions"), "two revisions have the same name"
        for revision in service.get("traffic", {}):
            if revision not in names:
                yield (*here, "traffic"), f"there is no revision {revision!r}"
        if sum(service.get("traffic", {"": 100}).values()) != 100:
            yield (*here, "traffic"), "the per cents must sum to 100"


def _series(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    metrics = known_names().metrics
    for index, series in enumerate(row.get("series", ())):
        here: Path = ("series", index)
        metric = metrics.get(series["metric"])
        if metric is None:
            yield (*here, "metric"), f"{series['metric']!r} is not in tools/google/names.toml"
            continue
        for label in series.get("labels", {}):
            if label not in metric.labels:
                yield (*here, "labels"), f"{metric.type} has no label {label!r}"
        points = series["points"]
        for point in points if isinstance(points, Sequence) else (points,):
            value = point[1] if isinstance(point, Sequence) else point["value"]
            if isinstance(value, Mapping) != (metric.value_type == "DISTRIBUTION"):
                shape = "count and mean" if metric.value_type == "DISTRIBUTION" else "a number"
                yield (*here, "points"), f"{metric.type} needs {shape}"


def _logs(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    known = known_names()
    revisions = {
        service["name"]: [revision["name"] for revision in service["revisions"]]
        for service in row.get("services", ())
    }
    for index, block in enumerate(row.get("logs", ())):
        here: Path = ("logs", index)
        if "log" in block and block["log"] not in known.logs:
            yield (*here, "log"), f"{block['log']!r} is not in tools/google/names.toml"
        service = block.get("service") or next(iter(revisions), "")
        if "revision" in block and block["revision"] not in revisions.get(service, ()):
            yield (*here, "revision"), f"the service has no revision {block['revision']!r}"
        content = [key for key in ("text", "json", "audit", "request") if key in block]
        if len(content) != 1:
            yield here, "a log block has exactly one of text, json, audit, request"
        span = parse_span(block.get("every", "1s"))
        if span.total_seconds() <= 0:
            yield (*here, "every"), "must be more than zero"
