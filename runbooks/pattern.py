"""Regular expressions that take linear time, whatever the pattern and the text: RE2's.

A user's runbook may hold any pattern; none may stall a diagnosis. RE2 has no look-around and no
back-references, so a pattern that needs them is refused when the runbook is read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

MAX_PATTERN = 2_000  # characters; the longest shipped one has about 150


class PatternError(ValueError):
    """The pattern is not one that RE2 can run."""


def _options() -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # RE2 would write to the terminal itself
    return options


@lru_cache(maxsize=8192)
def compile_pattern(pattern: str) -> Any:
    """Return the compiled pattern. Raises PatternError with RE2's reason."""
    import re2

    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern)} characters, the limit is {MAX_PATTERN}")
    if not pattern:
        raise PatternError("it is empty, so it would match every line")
    try:
        compiled = re2.compile(pattern, _options())
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text) from error
    if compiled.search("") is not None:
        raise PatternError("it matches an empty text, so it would match every line")
    return compiled


class Prefilter:
    """Which of many patterns may match a text, in one pass over it.

    RE2's FilteredRE2 looks for the literal parts that a pattern cannot match without. It may
    name too many, never too few; unlike RE2::Set it holds no automaton over the whole patterns,
    which could outgrow its memory on a user's library and then miss matches.
    """

    def __init__(self, patterns: list[str]) -> None:
        import re2

        self._filter: Any = None
        if patterns:
            self._filter = re2.Filter()
            options = _options()
            for pattern in patterns:
                self._filter.Add(pattern, options)
            self._filter.Compile()

    def candidates(self, text: str) -> list[int]:
        """Return the indexes of the patterns that may match."""
        if self._filter is None:
            return []
        return self._filter.Match(text, True) or []
