"""The tools by name; nothing else. Their modules are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from tools.tool import Tool

# Module → the tools in it.
_WHERE: Mapping[str, tuple[str, ...]] = {
    "tools.reads.endpoint": ("get_endpoint", "read_metrics"),
    "tools.reads.logs": ("read_logs",),
    "tools.reads.revisions": ("list_revisions", "show_changes"),
    "tools.reads.series": ("read_series",),
    "tools.reads.tpu": ("list_queued_resources",),
}


@cache
def load_tools() -> Mapping[str, Tool]:
    """Import every tool and return them by name."""
    return {
        name: getattr(import_module(module), name)
        for module, names in _WHERE.items()
        for name in names
    }


class _Tools(Mapping[str, Tool]):
    """All tools, imported at the first look at one; the names cost no import."""

    def __getitem__(self, name: str) -> Tool:
        return load_tools()[name]

    def __iter__(self) -> Iterator[str]:
        return (name for names in _WHERE.values() for name in names)

    def __len__(self) -> int:
        return sum(len(names) for names in _WHERE.values())


TOOLS: Mapping[str, Tool] = _Tools()
