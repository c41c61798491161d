"""Try one case against a catalog: which runbooks would it bring up?

Lint and drafting use it: a signature must recognise its own examples and nobody else's. A text is
tried in every place where it could be seen, so that a loose expression can't hide behind ``on``.
"""

from __future__ import annotations

import re

from runbooks.catalog import Catalog
from runbooks.match import Match, Matcher
from runbooks.runbook import Example
from tools.domain import Block, ExceptionNote, Launch, LogRecord, Observation, Origin

_EXCEPTION = re.compile(r"(?:\S+ )?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)): (.*)", re.S)


def try_example(catalog: Catalog, example: Example) -> tuple[Match, ...]:
    """Return the matches of a case, whatever the platform is."""
    matcher = Matcher(catalog)
    for number, text in enumerate(example.lines, start=1):
        for block in _blocks(text, f"example:{number}"):
            matcher.add(block)
    observations: tuple[Observation, ...] = ()
    if example.facts:
        observations = (Observation("example", "example:facts", "facts", facts=example.facts),)
    launch = Launch(args=example.args) if example.args else None
    return matcher.finish(observations, launch)


def _blocks(text: str, ref: str) -> list[Block]:
    blocks = [
        Block("line", text, (LogRecord(ref, text, origin=origin),))
        for origin in (Origin.PROCESS, Origin.PLATFORM, Origin.CONTROL_PLANE)
    ]
    found = _EXCEPTION.fullmatch(text)
    note = ExceptionNote(found[1] if found else "Exception", found[2] if found else text, (0,))
    record = LogRecord(ref, text)
    return [*blocks, Block("traceback", text, (record,), exceptions=(note,))]
