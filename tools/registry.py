"""The tools by name; nothing else. Their modules are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from tools.tool import Tool

# Module → the read tools in it.
_WHERE: Mapping[str, tuple[str, ...]] = {
    "tools.reads.endpoint": ("get_endpoint", "read_metrics"),
    "tools.reads.logs": ("read_logs",),
    "tools.reads.prices": ("refresh_prices",),
    "tools.reads.revisions": ("list_revisions", "show_changes"),
    "tools.reads.series": ("read_series",),
    "tools.reads.sizing": ("fit_model", "estimate_cost", "recommend_setup", "lint_flags"),
    "tools.reads.tpu": ("list_queued_resources",),
}

# The same for what changes or destroys, with the kind of target that each is for.
_CHANGES: Mapping[str, tuple[str, str]] = {
    "roll_back_traffic": ("tools.changes.traffic", "cloud-run"),
    "delete_queued_resource": ("tools.changes.queued", "tpu"),
}


@cache
def load_change_tools() -> Mapping[str, Tool]:
    """Import every tool that changes or destroys, and return them by name."""
    return {name: getattr(import_module(module), name) for name, (module, _) in _CHANGES.items()}


def change_tools(kind: str) -> dict[str, Tool]:
    """Return the tools that change or destroy and make sense for a kind of target."""
    return {name: load_change_tools()[name] for name, row in _CHANGES.items() if row[1] == kind}


@cache
def load_tools() -> Mapping[str, Tool]:
    """Import every read tool and return them by name."""
    return {
        name: getattr(import_module(module), name)
        for module, names in _WHERE.items()
        for name in names
    }


class _Tools(Mapping[str, Tool]):
    """All read tools, imported at the first look at one; the names cost no import."""

    def __getitem__(self, name: str) -> Tool:
        return load_tools()[name]

    def __iter__(self) -> Iterator[str]:
        return (name for names in _WHERE.values() for name in names)

    def __len__(self) -> int:
        return sum(len(names) for names in _WHERE.values())


TOOLS: Mapping[str, Tool] = _Tools()
