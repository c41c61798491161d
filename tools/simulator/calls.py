"""What the simulation was asked, in order, and the script mismatches that it saw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


class ScriptMismatch(AssertionError):
    """The model was asked something that the script does not foresee, or a step was not used."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: ``method`` is ``logging.ListLogEntries`` or ``http:/health``.

    ``status`` is the google.rpc code's name, or the HTTP status as text; for a request that got no
    answer it is ``none``. ``time`` is simulated.
    """

    method: str
    request: str
    status: str
    time: datetime
