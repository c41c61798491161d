"""Fill the steps of a fix with what was seen: options, captures and facts."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbooks.match import Match

# {arg.NAME}, {arg.NAME=VALUE}, {!arg.NAME}, {capture.1}, {fact.NAME}, {env.unknown}; any other
# brace is text, such as the ones of JSON in a command.
SLOT = re.compile(r"\{(!?)(arg|capture|fact|env)\.([a-z0-9_.]+)(?:=([^{}]*))?\}")
MAX_VALUE = 200  # characters of a filled value


def fill_fix(match: Match) -> tuple[str, ...]:
    """Return the steps of the runbook's fix with their slots filled.

    A step with a slot that can't be filled is dropped. ``{arg.X=V}`` is filled only if the
    option has that value; ``{!arg.X}`` is filled with nothing, and only if the option was not
    given. A value inside backticks is quoted for a shell, because it comes from a log.
    """
    return tuple(
        step for template in match.runbook.fix if (step := _fill(template, match)) is not None
    )


def _fill(template: str, match: Match) -> str | None:
    parts: list[str] = []
    end = 0
    for slot in SLOT.finditer(template):
        value = _value(slot, match)
        if value is None:
            return None
        before = template[end : slot.start()]
        parts.append(before)
        in_command = "".join(parts).count("`") % 2 == 1
        parts.append(shlex.quote(value) if in_command and value else value)
        end = slot.end()
    return " ".join("".join([*parts, template[end:]]).split(" ")).strip()


def _value(slot: re.Match[str], match: Match) -> str | None:
    absent, space, name, wanted = slot.groups()
    found: object = None
    if space == "arg" and match.launch is not None:
        found = match.launch.args.get(name)
    elif space == "capture" and name.isdigit() and 0 < int(name) <= len(match.captures):
        found = match.captures[int(name) - 1] or None
    elif space == "fact":
        found = dict(match.facts).get(name)
    elif space == "env" and name == "unknown" and match.launch is not None:
        found = ", ".join(match.launch.unknown_env) or None
    if absent:
        return "" if found is None else None
    if found is None or (wanted is not None and str(found) != wanted):
        return None
    text = "".join(char if char.isprintable() else " " for char in str(found))
    return text.replace("`", "'")[:MAX_VALUE]
