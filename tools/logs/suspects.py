"""Which options of the launch an exception's own words point at, where no runbook says so."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tools.domain import ExceptionNote, Launch

MAX_SUSPECTS = 4
_SHORTEST = 5  # letters of a value or name; "auto" and "int8" stand in too many messages
# What every server has and names in many messages: being mentioned says nothing of a fault.
_COMMON = frozenset(("model", "model_tag", "host", "port", "served_model_name", "tokenizer"))
_WORD = re.compile(r"[^a-z0-9]+")


def suspected_options(
    exception: ExceptionNote, launch: Launch | None
) -> tuple[tuple[str, object], ...]:
    """Return the options of the launch that the exception mentions, by value or by name.

    A mention is a reason to look, not a proof: ``linear_backend='cutlass'`` is one in
    "CutlassW4A8LinearKernel requires capability 90". Those named by their value come first.
    """
    if launch is None:
        return ()
    text = exception.message.casefold()
    words = f" {_WORD.sub(' ', text)} "
    by_value, by_name = [], []
    for name, value in launch.args.items():
        if name in _COMMON:
            continue
        if isinstance(value, str) and len(value) >= _SHORTEST and value.casefold() in text:
            by_value.append((name, value))
        elif len(name) >= _SHORTEST and f" {name.replace('_', ' ').casefold()} " in words:
            by_name.append((name, value))
    return tuple([*by_value, *by_name][:MAX_SUSPECTS])


def option_text(options: Iterable[tuple[str, object]]) -> str:
    """Return options as one line: ``linear_backend='cutlass', dtype='bfloat16'``."""
    return ", ".join(f"{name}={value!r}" for name, value in options)
