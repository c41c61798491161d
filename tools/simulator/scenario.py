"""A scenario: one YAML file that says what the simulated cloud holds, and the verdict to expect.

The format is described in ``docs/scenarios.md``; ``scenario.schema.json`` is its schema.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from tools.domain import Kind
from tools.errors import UsageError
from tools.simulator.scenario_yaml import load_yaml

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """The verdict that a diagnosis of the scenario must reach."""

    verdict: str
    exit_code: int
    causes: tuple[str, ...] = ()
    service_state: str = ""
    gaps_contain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the simulated cloud holds. Rows are as written in the file, times relative to ``now``.

    ``chat`` is a tuple of steps, ``freeform``, or None for a model that answers nothing.
    """

    name: str
    title: str
    kind: Kind
    project: str
    location: str
    now: datetime
    expected: Expected
    story: str = ""
    zone: str = ""
    services: tuple[Row, ...] = ()
    logs: tuple[Row, ...] = ()
    series: tuple[Row, ...] = ()
    queued_resources: tuple[Row, ...] = ()
    nodes: tuple[Row, ...] = ()
    quotas: tuple[Row, ...] = ()
    operations: Row = field(default_factory=dict)
    endpoint: Row = field(default_factory=dict)
    faults: tuple[Row, ...] = ()
    chat: tuple[Row, ...] | Literal["freeform"] | None = None

    @property
    def service(self) -> str:
        """Return the name of the service, or of the TPU node, that the scenario is about."""
        if self.services:
            return str(self.services[0]["name"])
        return self.first_node

    @property
    def first_node(self) -> str:
        """Return the name of the first TPU node, existing or asked for."""
        if self.nodes:
            return str(self.nodes[0]["name"])
        return str(self.queued_resources[0]["node"]) if self.queued_resources else ""

    def newest_revision(self, service: str) -> str:
        """Return the name of a service's newest revision, the last one in the file."""
        for row in self.services:
            if row["name"] == service:
                return str(row["revisions"][-1]["name"])
        raise UsageError(f"The scenario {self.name} has no service {service!r}.")

    def with_chat(self, chat: Sequence[Row] | Literal["freeform"] | None) -> Scenario:
        """Return a copy whose model follows another script."""
        steps = chat if chat is None or chat == "freeform" else tuple(chat)
        return replace(self, chat=steps)

    def with_endpoint(self, **changes: Any) -> Scenario:
        """Return a copy with changed endpoint settings, such as ``behaviour="stall"``."""
        return replace(self, endpoint={**self.endpoint, **changes})


@dataclass(frozen=True, slots=True)
class ScenarioInfo:
    """A shipped scenario in a list."""

    name: str
    title: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a scenario file; ``line`` counts from 1, 0 when not known."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """Return ``path:line: message``."""
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message}"


def shipped_scenarios() -> tuple[ScenarioInfo, ...]:
    """Return the scenarios that come with the package, by name."""
    infos = []
    for name, source in sorted(_shipped().items()):
        row = load_yaml(source.read_text(encoding="utf-8"))
        infos.append(ScenarioInfo(name, row["title"], row["expected"]["verdict"]))
    return tuple(infos)


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Return a shipped scenario by name, or the one in a file.

    Raises UsageError: an unknown name (with the nearest ones), or a file with problems.
    """
    shipped = _shipped()
    if str(name_or_path) in shipped:
        source: Traversable | Path = shipped[str(name_or_path)]
    else:
        source = Path(name_or_path)
        if not source.is_file():
            raise UsageError(
                f"There is no scenario or file {str(name_or_path)!r}.", fix=_nearest(name_or_path)
            )
    row, problems = read_source(source)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UsageError(f"{problems[0]}{more}.", fix="Run: gemma-sre demo validate FILE")
    return from_row(row)


def read_source(source: Traversable | Path) -> tuple[dict[str, Any], list[Problem]]:
    """Return a file's content and everything that is wrong in it."""
    from tools.simulator.validation import find_problems

    label = str(source)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return {}, [Problem(label, 0, f"can't be read: {error}")]
    return find_problems(text, label)


def validate_scenario(path: str | Path) -> list[Problem]:
    """Return what is wrong with a scenario file, an empty list when nothing is."""
    return read_source(Path(path))[1]


def from_row(row: Mapping[str, Any]) -> Scenario:
    """Return the scenario of a valid file's content."""
    expected = row["expected"]
    tpu = row.get("tpu", {})
    now = row["now"]
    moment = now if isinstance(now, datetime) else datetime.fromisoformat(now)
    chat = row.get("chat")
    return Scenario(
        name=row["name"],
        title=row["title"],
        story=row.get("story", ""),
        kind=row["kind"],
        project=row["project"],
        location=row["location"],
        zone=row.get("zone", ""),
        now=moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        services=tuple(row.get("services", ())),
        logs=tuple(row.get("logs", ())),
        series=tuple(row.get("series", ())),
        queued_resources=tuple(tpu.get("queued_resources", ())),
        nodes=tuple(tpu.get("nodes", ())),
        quotas=tuple(row.get("quotas", ())),
        operations=row.get("operations", {}),
        endpoint=row.get("endpoint", {}),
        faults=tuple(row.get("faults", ())),
        chat=chat if chat is None or chat == "freeform" else tuple(chat),
        expected=Expected(
            verdict=expected["verdict"],
            exit_code=expected["exit_code"],
            causes=tuple(expected.get("causes", ())),
            service_state=expected.get("service_state", ""),
            gaps_contain=tuple(expected.get("gaps_contain", ())),
        ),
    )


def shipped_row(name: str) -> dict[str, Any] | None:
    """Return the content of a shipped scenario, None if there is none of that name."""
    source = _shipped().get(name)
    if source is None:
        return None
    row: dict[str, Any] = load_yaml(source.read_text(encoding="utf-8"))
    return row


@cache
def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema of a scenario file."""
    text = files("tools.simulator").joinpath("scenario.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _shipped() -> dict[str, Traversable]:
    folder = files("tools.simulator").joinpath("scenarios")
    return {
        item.name.removesuffix(".yaml"): item
        for item in folder.iterdir()
        if item.name.endswith(".yaml")
    }


def _nearest(name: str | Path) -> str:
    names = sorted(_shipped())
    near = difflib.get_close_matches(str(name), names, n=3)
    return f"Did you mean: {', '.join(near)}?" if near else f"Shipped: {', '.join(names)}."
