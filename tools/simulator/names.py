"""The names of Google Cloud that the simulation knows, read from ``tools/google/names.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric type: its kind and value type by Cloud Monitoring's names, labels, resources."""

    type: str
    metric_kind: str
    value_type: str
    unit: str
    labels: tuple[str, ...]
    resources: tuple[str, ...]
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Names:
    """Every known metric type, log id and resource type; resources map to their labels."""

    metrics: Mapping[str, MetricName]
    logs: frozenset[str]
    resources: Mapping[str, tuple[str, ...]]


@cache
def known_names() -> Names:
    """Return the names of the data file."""
    text = files("tools.google").joinpath("names.toml").read_text(encoding="utf-8")
    metrics: dict[str, MetricName] = {}
    logs: set[str] = set()
    resources: dict[str, tuple[str, ...]] = {}
    for row in tomllib.loads(text)["name"]:
        match row["kind"]:
            case "metric":
                metrics[row["name"]] = MetricName(
                    row["name"],
                    row["metric_kind"],
                    row["value_type"],
                    row["unit"],
                    tuple(row["labels"]),
                    tuple(row["resources"]),
                    row["confirmed"],
                )
            case "log":
                logs.add(row["name"])
            case "resource":
                resources[row["name"]] = tuple(row["labels"])
    return Names(metrics, frozenset(logs), resources)
