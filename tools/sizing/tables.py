"""The data files of this folder, read once; a name that is not there gets the nearest ones."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.errors import UsageError


@cache
def table(name: str) -> Mapping[str, Any]:
    """Return the data file ``name`` (``models``, ``accelerators``, ``prices``), parsed."""
    # importlib.resources would cost a tenth of the whole command.
    file = Path(__file__).with_name(f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def plain(name: str) -> str:
    """Return a name without case, spaces and separators: ``RTX PRO 6000`` → ``rtxpro6000``."""
    return re.sub(r"[\s_\-/]+", "", name).casefold()


def find(kind: str, name: str, entries: Mapping[str, Iterable[str]]) -> str:
    """Return the key of ``entries`` that ``name`` means; a value is the key's aliases.

    Raises UsageError with the nearest names when there is none.
    """
    wanted = plain(name)
    for key, aliases in entries.items():
        if wanted in {plain(key), *(plain(alias) for alias in aliases)}:
            return key
    known = {plain(word): key for key, words in entries.items() for word in (key, *words)}
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    near = list(dict.fromkeys(known[word] for word in close))
    if near:
        raise UsageError(f"There is no {kind} {name!r}.", fix=f"Did you mean {' or '.join(near)}?")
    raise UsageError(f"There is no {kind} {name!r}.", fix=f"Known: {', '.join(entries)}.")
