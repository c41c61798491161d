"""What each line of vLLM's output begins with: the process, the level, the time, the place.

``(EngineCore_DP0 pid=119) ERROR 06-06 03:41:48 [core.py:1165] text``. The bracketed process is
put before every line that a process prints, raw tracebacks included (vLLM 0.10.2 and later,
``vllm/utils/system_utils.py``); level, time and place come from the logger, once for each line of
a message (``vllm/logging_utils/formatter.py``). torch puts ``[rank0]:`` before raw tracebacks,
Ray ``(Name pid=1, ip=…)``, and vLLM before 0.7 wrote the place without brackets.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tools.domain import Severity

_COLOUR = r"(?:\\x1b\[[0-9;]*m)*"  # as canonical text shows it
_PREFIX = re.compile(
    rf"{_COLOUR}(?:\(([A-Za-z][^()\n]{{0,80}}? pid=\d+(?:, ip=[^()\n]{{1,60}})?)\){_COLOUR} ?)?"
    rf"{_COLOUR}(?:\[(rank\d+)\]: ?)?"
    rf"(?:(DEBUG|INFO|WARNING|ERROR|CRITICAL){_COLOUR} "
    rf"({_COLOUR}\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? "
    r"(?:\[[^\]\n]{1,200}\]|[\w./-]{1,100}:\d+\])"
    rf"){_COLOUR} ?)?"
)
_NESTED = re.compile(rf"{_COLOUR}\(([A-Za-z][\w.:-]{{0,80}} pid=\d+)")

LEVELS = {
    "DEBUG": Severity.DEBUG,
    "INFO": Severity.INFO,
    "WARNING": Severity.WARNING,
    "ERROR": Severity.ERROR,
    "CRITICAL": Severity.CRITICAL,
}


class Prefix(NamedTuple):
    """The parts of a line's prefix; ``length`` is where the line's own text begins."""

    process: str  # "EngineCore pid=119", as printed; "rank0" for torch's own
    level: str  # "" when the line did not come from a logger
    place: str  # "06-06 03:41:48 [core.py:1165]"
    length: int


def split_prefix(line: str) -> Prefix:
    """Return the prefix of one line of canonical text; all parts empty when it has none."""
    match = _PREFIX.match(line)
    if match is None:  # can't happen: every part is optional
        return Prefix("", "", "", 0)
    process, rank, level, place = match.groups()
    return Prefix(process or rank or "", level or "", place or "", match.end())


def has_forged_process(line: str) -> bool:
    """Tell whether the API server prints a line that claims to be another process's.

    The API server is the one process that handles callers' text, and no process of vLLM prints
    through it: a second ``(Name pid=N)`` behind its own was part of what it was given. Behind
    the engine's prefix it is Ray's, and genuine.
    """
    if line.count(" pid=", 0, 400) < 2:
        return False
    prefix = split_prefix(line)
    return prefix.process.startswith("APIServer") and (
        _NESTED.match(line, prefix.length) is not None
    )
