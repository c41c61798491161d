"""What probes share while they run: what each has seen, and what one waits for from another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

from tools.domain import Change, Gap, LogRecord, Observation, Probe
from tools.errors import CloudError, CloudUnavailable, GemmaSreError, PermissionMissing
from tools.google.clients import counting

T = TypeVar("T")

OnEvent = Callable[[str, str, Probe | None], None]


@dataclass(slots=True)
class Seen:
    """What one probe has seen so far; it becomes a Probe when the probe ends."""

    observations: list[Observation] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    skipped: bool = False

    def gap(self, what: str, error: GemmaSreError) -> None:
        """Add what an error hid."""
        self.gaps.append(gap_of(what, error))


class Shared(Generic[T]):
    """A value that one probe finds and others wait for."""

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def put(self, value: T) -> None:
        """Give the value to everyone who waits."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: CloudError) -> None:
        """Give an error to everyone who waits."""
        if not self._future.done():
            self._future.set_exception(error)
            self._future.exception()  # read once, so that nobody is warned if nobody waits

    async def get(self) -> T:
        """Wait for the value; raises the CloudError that stands in its place."""
        return await asyncio.shield(self._future)


def gap_of(what: str, error: GemmaSreError) -> Gap:
    """Return the gap that an error leaves, with the permission and role for a refused one."""
    if isinstance(error, PermissionMissing) and error.permission:
        return Gap(what, f"permission {error.permission} is missing", error.fix.rstrip("."))
    return Gap(what, error.message.rstrip("."), error.fix.rstrip("."))


async def run_probe(
    name: str,
    look: Callable[[Seen], Awaitable[None]],
    *,
    gives: Iterable[Shared[object]] = (),
    on_event: OnEvent | None = None,
) -> Probe:
    """Run one probe to its end; whatever goes wrong in it becomes a gap of its own.

    ``gives`` are the shared values that it owes to others: they fail when it ends without them.
    """
    seen, start = Seen(), monotonic()
    if on_event:
        on_event(name, "started", None)
    with counting() as count:
        try:
            await look(seen)
        except GemmaSreError as error:
            seen.gap(name, error)
        except Exception as error:  # noqa: BLE001 - a defect of one probe must not stop the others
            seen.gaps.append(Gap(name, f"the probe failed: {type(error).__name__}: {error}"))
        finally:
            for shared in gives:
                shared.fail(CloudUnavailable(f"the probe {name} could not tell"))
    probe = Probe(
        name=name,
        observations=tuple(seen.observations),
        gaps=tuple(seen.gaps),
        changes=tuple(seen.changes),
        records=tuple(seen.records),
        calls=count.calls,
        seconds=monotonic() - start,
    )
    if on_event:
        blind = bool(seen.gaps) and not seen.observations and not seen.records
        on_event(name, "skipped" if seen.skipped else "failed" if blind else "ok", probe)
    return probe
