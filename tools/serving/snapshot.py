"""The options that a vLLM version's `serve` takes, kept as data: names, choices and kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# An option's head in argparse's help: two spaces, the spellings, then text two columns away.
_HEAD = re.compile(r"^  (-[^\s].*)$")
_CHOICES = re.compile(r"\{([^{}]*)\}")
_SPELLING = re.compile(r"^(--?[A-Za-z0-9][\w.-]*)(?:\s+(.*))?$")


@dataclass(frozen=True)
class Option:
    """One option: its names, what it may be, and whether it takes a value."""

    name: str  # "max-model-len"
    switch: bool = False
    choices: tuple[str, ...] = ()
    open_choices: bool = False  # other values can be registered by a plugin
    many: bool = False
    json_value: bool = False


@dataclass(frozen=True)
class Snapshot:
    """All options of one version; ``names`` has every spelling without its dashes."""

    version: str
    source: str
    names: Mapping[str, Option]

    def find(self, name: str) -> Option | None:
        """Return the option that ``name`` spells, with underscores or dashes, or None."""
        head = name.removeprefix("--").split(".")[0].replace("_", "-")
        exact = self.names.get(head) or self.names.get(name)
        if exact:
            return exact
        # argparse takes a prefix that means one option only.
        longer = {option.name: option for key, option in self.names.items() if key.startswith(head)}
        return next(iter(longer.values())) if len(longer) == 1 else None


@cache
def snapshot(version: str = "0.32") -> Snapshot:
    """Return the newest snapshot not newer than ``version`` (major.minor), else the oldest."""
    wanted = _order(version)
    every = sorted(_data()["versions"], key=_order)
    older = [known for known in every if _order(known) <= wanted]
    chosen = older[-1] if older else every[0]
    data = _data()["versions"][chosen]
    names: dict[str, Option] = {}
    for name, entry in data["options"].items():
        option = Option(
            name=name,
            switch=bool(entry.get("switch")),
            choices=tuple(entry.get("choices", ())),
            open_choices=bool(entry.get("open")),
            many=bool(entry.get("many")),
            json_value=bool(entry.get("json")),
        )
        for spelling in (name, *entry.get("also", ())):
            names[spelling] = option
    return Snapshot(chosen, data["source"], names)


@cache
def switches() -> frozenset[str]:
    """Return the options of the newest snapshot that take no value."""
    return frozenset(name for name, option in snapshot("999.0").names.items() if option.switch)


def compile_help(text: str) -> dict[str, dict[str, Any]]:
    """Return the options of a `vllm serve --help=all` output, as the data file keeps them."""
    options: dict[str, dict[str, Any]] = {}
    bodies: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            name, entry = _head(head[1])
            if name:
                options[name] = entry
                bodies[name] = ""
            current = name
        elif line.startswith("      ") and current:
            bodies[current] += " " + line.strip()
        elif line and not line.startswith(" "):
            current = ""
    for name, body in bodies.items():
        if "Should either be a valid JSON string" in body or "JSON" in body[:300]:
            options[name]["json"] = True
    return options


def _head(text: str) -> tuple[str, dict[str, Any]]:
    found = _CHOICES.search(text)
    choices = sorted(filter(None, found[1].split(","))) if found else []
    bare = _CHOICES.sub("X", text)
    spellings: list[str] = []
    takes_value = False
    many = False
    for part in re.split(r",\s+(?=-)", re.split(r"\s{2,}", bare)[0]):
        match = _SPELLING.match(part.strip())
        if not match:
            continue
        spellings.append(match[1].lstrip("-") if match[1].startswith("--") else match[1])
        takes_value = takes_value or bool(match[2])
        many = many or "[" in (match[2] or "") or "..." in (match[2] or "")
    long = [name for name in spellings if not name.startswith("-")]
    if not long:
        return "", {}
    entry: dict[str, Any] = {}
    others = [name for name in spellings if name != long[0]]
    if others:
        entry["also"] = others
    if not takes_value:
        entry["switch"] = True
    if choices:
        entry["choices"] = choices
    if "registered in" in text:
        entry["open"] = True
    if many:
        entry["many"] = True
    return long[0], entry


@cache
def _data() -> Mapping[str, Any]:
    text = Path(__file__).with_name("vllm_options.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
