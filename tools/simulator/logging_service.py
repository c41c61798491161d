"""Cloud Logging v2: list entries and logs, with the real service's refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from google.cloud.logging_v2 import types

from tools.simulator.clock import SimulatedClock
from tools.simulator.filter_tokens import FilterError
from tools.simulator.log_entries import StoredEntry
from tools.simulator.logging_filter import parse_filter
from tools.simulator.logging_match import compile_filter
from tools.simulator.names import known_names
from tools.simulator.scenario import Scenario
from tools.simulator.status import invalid, not_found

#: entries.list: page_size default 50, "if the value is negative or exceeds 1000, the request is
#: rejected" (logging.proto in google-cloud-logging 3.17.0).
DEFAULT_PAGE, MAX_PAGE = 50, 1000


class SimulatedLogging:
    """Serve a scenario's entries; entries later than the clock do not exist yet."""

    def __init__(
        self, scenario: Scenario, clock: SimulatedClock, entries: tuple[StoredEntry, ...]
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._entries = entries

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return the methods by short name."""
        return {
            "logging.ListLogEntries": self.list_entries,
            "logging.ListLogs": self.list_logs,
        }

    def list_entries(self, request: types.ListLogEntriesRequest) -> types.ListLogEntriesResponse:
        """Answer entries.list."""
        self._check_parents(list(request.resource_names))
        if request.page_size < 0 or request.page_size > MAX_PAGE:
            raise invalid(f"page_size must be between 0 and {MAX_PAGE}, got {request.page_size}")
        if request.order_by not in {"", "timestamp asc", "timestamp desc"}:
            raise invalid(
                f"Invalid order_by '{request.order_by}': use 'timestamp asc' or 'timestamp desc'"
            )
        try:
            matches = compile_filter(parse_filter(request.filter), known_names())
        except FilterError as error:
            raise invalid(str(error)) from None
        now = self._clock.now()
        found = [entry for entry in self._entries if entry.time <= now and matches(entry.view)]
        if request.order_by == "timestamp desc":
            found.reverse()
        key = [list(request.resource_names), request.filter, request.order_by]
        start = _read_token(request.page_token, key)
        end = start + (request.page_size or DEFAULT_PAGE)
        return types.ListLogEntriesResponse(
            entries=[entry.proto for entry in found[start:end]],
            next_page_token=_write_token(end, key) if end < len(found) else "",
        )

    def list_logs(self, request: types.ListLogsRequest) -> types.ListLogsResponse:
        """Answer logs.list: names of logs that have entries."""
        self._check_parents([request.parent])
        now = self._clock.now()
        names = sorted({str(e.view["logName"]) for e in self._entries if e.time <= now})
        return types.ListLogsResponse(log_names=names)

    def _check_parents(self, parents: list[str]) -> None:
        if not parents:
            raise invalid("At least one resource name is required.")
        for parent in parents:
            if not parent.startswith(("projects/", "organizations/", "folders/")):
                raise invalid(f"Invalid resource name '{quote(parent)}'")
            if parent.startswith("projects/") and parent.split("/")[1] != self._scenario.project:
                raise not_found(f"The project {parent} does not exist.")


def _write_token(offset: int, key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([offset, key]).encode()).decode()


def _read_token(token: str, key: list[Any]) -> int:
    # A page token belongs to the request that it was made for, page_size apart.
    if not token:
        return 0
    try:
        offset, token_key = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise invalid("page_token is invalid") from None
    if token_key != key:
        raise invalid("page_token doesn't match arguments from the request")
    return int(offset)
