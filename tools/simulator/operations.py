"""Long-running operations: started by a change, done when the simulated clock gets there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from tools.simulator.clock import SimulatedClock
from tools.simulator.status import Refusal, not_found

#: A client that polls waits between its polls, so each poll of an unfinished operation moves the
#: simulated clock by this many seconds: `operation.result()` ends without real waiting.
POLL_SECONDS = 10.0


@dataclass(slots=True)
class _Entry:
    name: str
    done_at: datetime
    metadata: Any
    finish: Callable[[], Any]
    result: operations_pb2.Operation | None = None


class SimulatedOperations:
    """The operations service that Run and TPU share."""

    def __init__(self, clock: SimulatedClock, seed: int) -> None:
        self._clock = clock
        self._random = Random(seed)  # noqa: S311 - ids, not secrets
        self._entries: dict[str, _Entry] = {}

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return the methods by short name."""
        return {
            "operations.GetOperation": self.get,
            "operations.WaitOperation": self.wait,
            "operations.ListOperations": self.list,
            "operations.DeleteOperation": self.delete,
            "operations.CancelOperation": self.cancel,
        }

    def start(
        self, parent: str, seconds: float, finish: Callable[[], Any], metadata: Any
    ) -> operations_pb2.Operation:
        """Start an operation of ``seconds``; ``finish`` returns the response, or raises Refusal."""
        identity = uuid.UUID(int=self._random.getrandbits(128), version=4)
        entry = _Entry(
            f"{parent}/operations/{identity}",
            self._clock.now() + timedelta(seconds=seconds),
            metadata,
            finish,
        )
        self._entries[entry.name] = entry
        return self._state(entry)

    def get(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        """Answer GetOperation; the clock moves if the operation is not done."""
        entry = self._find(request.name)
        state = self._state(entry)
        if not state.done:
            self._clock.advance(POLL_SECONDS)
        return state

    def wait(self, request: operations_pb2.WaitOperationRequest) -> operations_pb2.Operation:
        """Answer WaitOperation; the wait passes on the simulated clock."""
        entry = self._find(request.name)
        left = (entry.done_at - self._clock.now()).total_seconds()
        limit = request.timeout.ToTimedelta().total_seconds() or left
        self._clock.advance(max(0.0, min(left, limit)))
        return self._state(entry)

    def list(self, request: operations_pb2.ListOperationsRequest) -> Any:
        """Answer ListOperations of one location."""
        found = [
            self._state(entry)
            for entry in self._entries.values()
            if entry.name.startswith(request.name + "/")
        ]
        return operations_pb2.ListOperationsResponse(operations=found)

    def delete(self, request: operations_pb2.DeleteOperationRequest) -> empty_pb2.Empty:
        """Answer DeleteOperation."""
        del self._entries[self._find(request.name).name]
        return empty_pb2.Empty()

    def cancel(self, request: operations_pb2.CancelOperationRequest) -> empty_pb2.Empty:
        """Answer CancelOperation: an unfinished operation ends with CANCELLED."""
        entry = self._find(request.name)

        def cancelled() -> Any:
            raise Refusal("CANCELLED", "The operation was cancelled.")

        if not self._state(entry).done:
            entry.finish, entry.done_at = cancelled, self._clock.now()
        return empty_pb2.Empty()

    def settle(self) -> None:
        """Let the operations whose time has come take effect."""
        for entry in list(self._entries.values()):
            self._state(entry)

    def _find(self, name: str) -> _Entry:
        if name not in self._entries:
            raise not_found(f"Operation {name} was not found.")
        return self._entries[name]

    def _state(self, entry: _Entry) -> operations_pb2.Operation:
        if entry.result is not None:
            return entry.result
        state = operations_pb2.Operation(name=entry.name)
        state.metadata.Pack(entry.metadata)
        if self._clock.now() < entry.done_at:
            return state
        state.done = True
        # Set first: what finish() reads may settle this very operation again.
        entry.result = state
        try:
            state.response.Pack(entry.finish())
        except Refusal as refusal:
            state.error.CopyFrom(refusal.status())
        return state
