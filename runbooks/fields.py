"""Read a mapping that a person wrote: each value with its type, each mistake named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tools.errors import RunbookError


class Fields:
    """A mapping whose keys are known; ``where`` says which part of the file it is."""

    def __init__(self, data: Any, known: Iterable[str], path: str, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(data, Mapping):
            raise self.error("", "must be a mapping of keys to values")
        self._known = tuple(known)
        for key in data:
            if key not in self._known:
                raise self.unknown(key)
        self._data = data

    def error(self, key: str, problem: str, fix: str = "") -> RunbookError:
        """Return the error that names the file, the key and what is wrong with it."""
        name = f"{self.where}.{key}".strip(".") or "the front matter"
        return RunbookError(f"{self.path}: {name} {problem}.", fix=fix, path=self.path)

    def unknown(self, key: object) -> RunbookError:
        """Return the error for a key that does not exist, with the nearest one that does."""
        near = difflib.get_close_matches(str(key), self._known, n=1, cutoff=0.5)
        fix = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(self._known)}."
        return self.error(str(key)[:60], "is not a known key", fix)

    def has(self, key: str) -> bool:
        """Say whether the key is there with a value."""
        return self._data.get(key) is not None

    def raw(self, key: str) -> Any:
        """Return the value as it was written."""
        return self._data.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a default it must be there and not be blank."""
        value = self._data.get(key)
        if value is None and default is not None:
            return default
        if value is None or value == "":
            if default is not None:
                return ""
            raise self.error(key, "is missing")
        if not isinstance(value, str):
            raise self.error(key, f"must be text, not {value!r}", "Put it in quotes.")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Return a text that is one of the choices."""
        value = self.text(key, default)
        if value not in choices:
            near = difflib.get_close_matches(value, choices, n=1)
            fix = f"Did you mean {near[0]!r}?" if near else f"One of: {', '.join(choices)}."
            raise self.error(key, f"can't be {value!r}", fix)
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; false when it is not there."""
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {value!r}")
        return value

    def texts(self, key: str, *, blank: bool = False) -> tuple[str, ...]:
        """Return a list of texts, empty when it is not there."""
        value = self._data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
            raise self.error(key, "must be a list of texts", "Put each in quotes.")
        if not blank and any(not item.strip() for item in value):
            raise self.error(key, "has an empty entry")
        return tuple(value)

    def list(self, key: str) -> list[Any]:
        """Return a list of anything, empty when it is not there."""
        value = self._data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(key, "must be a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a mapping with text keys, empty when it is not there."""
        value = self._data.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or any(not isinstance(name, str) for name in value):
            raise self.error(key, "must be a mapping of names to values")
        return dict(value)

    def scalar(self, key: str, value: Any) -> str | int | float | bool:
        """Return the value when it is a single one."""
        if not isinstance(value, str | int | float | bool):
            raise self.error(key, f"must be text, a number, true or false, not {value!r}")
        return value
