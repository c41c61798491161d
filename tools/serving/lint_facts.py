"""What the rules of the linter look up: accelerator, model, counts, versions, and the traps."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.serving.finding import Context, Given
from tools.sizing.accelerators import Accelerator, accelerator
from tools.sizing.architecture import Architecture, model
from tools.sizing.flags import limits, number

RUNBOOK = "Manzela/gemma4-vllm-deployment FORENSIC_RUNBOOK"


@cache
def traps() -> Mapping[str, Any]:
    """Return the traps that are data."""
    text = Path(__file__).with_name("traps.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def card_of(context: Context) -> Accelerator | None:
    """Return the accelerator of the context, or None when it is not known."""
    return accelerator(context.accelerator) if context.accelerator else None


def model_of(context: Context) -> Architecture | None:
    """Return the Gemma 4 size that the model names, or None."""
    try:
        return model(context.model) if context.model else None
    except UsageError:
        return None


def limits_of(given: Given) -> dict[str, int]:
    """Return the counts of --limit-mm-per-prompt in all its forms, without what can't be read."""
    found: dict[str, int] = {}
    for name, value in given.options:
        try:
            if name == "limit-mm-per-prompt":
                found |= limits(value or "")
            elif name.startswith("limit-mm-per-prompt."):
                found[name.split(".")[1]] = int(value or "")
        except (UsageError, ValueError):
            continue
    return found


def integer(text: str | None) -> int:
    """Return a whole number, 0 when there is none."""
    try:
        return number("option", text, 0, 2**40) if text else 0
    except UsageError:
        return 0


def within(version: tuple[int, int], span: Any) -> bool:
    """Return whether a version lies in [first, last]; an empty end is open."""
    first, last = span
    return (not first or version >= order(first)[:2]) and (not last or version <= order(last)[:2])


def order(text: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def is_json(text: str) -> bool:
    """Return whether a text is JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
