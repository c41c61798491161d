"""The facts of all observations in one place, each with the observation that it came from."""

from __future__ import annotations

from collections.abc import Iterable

from tools.domain import Observation, Scalar


class Facts:
    """Named scalars (``docs/facts.md``); a later observation of a name replaces an earlier one."""

    def __init__(self, observations: Iterable[Observation]) -> None:
        self._values: dict[str, tuple[Scalar, Observation]] = {}
        for observation in observations:
            for name, value in observation.facts.items():
                self._values[name] = (value, observation)

    def get(self, name: str) -> Scalar | None:
        """Return the value, None when it was not seen."""
        found = self._values.get(name)
        return None if found is None else found[0]

    def seen(self, name: str) -> bool:
        """Return whether the fact was seen at all."""
        return name in self._values

    def text(self, name: str) -> str:
        """Return the value as text, empty when it was not seen."""
        value = self.get(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> float | None:
        """Return the value as a number, None when it was not seen or is none."""
        value = self.get(name)
        return float(value) if isinstance(value, int | float) else None

    def source(self, *names: str) -> list[Observation]:
        """Return the observations behind the names, without repeats, in the names' order."""
        found: list[Observation] = []
        for name in names:
            entry = self._values.get(name)
            if entry is not None and entry[1] not in found:
                found.append(entry[1])
        return found
