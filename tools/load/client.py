"""The connections of a load run: one per slot, kept open, with one request at a time.

A plain asyncio protocol without tasks or futures per request: at thousands of requests a second
those cost more than the work itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Protocol, cast

from tools.load.endpoint import LoadTarget
from tools.load.http_response import HttpError, ResponseReader
from tools.load.httptools_response import INSTALLED, HttptoolsReader
from tools.load.records import NS, Outcome
from tools.load.stream import Exchange

LARGE = 2048  # bytes of a read that holds many chunks: its time is that of all of them anyway
READS = 8  # reads between two looks at what is ready; each takes about 10 µs
Reader = ResponseReader | HttptoolsReader
BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds before a slot whose requests fail tries again


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    connect: float = 5.0
    first_byte: float = 60.0
    stall: float = 30.0  # between two reads of a stream
    total: float = 600.0


class Driver(Protocol):
    """What a connection needs of the one that decides what is sent when."""

    target: LoadTarget
    patience: Patience
    inbox: Inbox
    connecting: asyncio.Semaphore  # bounds connections being made at once: backlogs are short

    def ready(self, slot: Slot) -> None:
        """A connection is open and idle."""

    def ended(self, slot: Slot, exchange: Exchange) -> None:
        """A request has ended, one way or another."""

    def refused(self, slot: Slot, why: str) -> None:
        """No connection could be made."""

    def idle_lost(self, slot: Slot) -> None:
        """An idle connection was closed by the server."""


class Inbox:
    """What has arrived and is not read yet.

    Chunks of many streams come in bursts, one per step of the engine. Reading one takes some
    microseconds; done at once, it would be added to the times of all those behind it. So the
    loop notes the time of everything that is ready first, and reads a few between two looks.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Connection, int, bytes]] = deque()
        self._loop = asyncio.get_running_loop()

    def put(self, connection: Connection, now: int, data: bytes) -> None:
        """Keep bytes until the loop has nothing more that is ready."""
        if len(data) > LARGE:
            self.drain()
            connection.read(data, now)
            return
        if not self._waiting:
            self._loop.call_soon(self._read_some)
        self._waiting.append((connection, now, data))

    def drain(self) -> None:
        """Read everything, in the order of its coming."""
        waiting = self._waiting
        while waiting:
            connection, now, data = waiting.popleft()
            connection.read(data, now)

    def _read_some(self) -> None:
        waiting = self._waiting
        for _ in range(min(READS, len(waiting))):
            connection, now, data = waiting.popleft()
            connection.read(data, now)
            if not waiting:  # a connection that was lost meanwhile drained it
                return
        if waiting:
            self._loop.call_soon(self._read_some)


class Connection(asyncio.Protocol):
    """One TCP connection of a slot."""

    __slots__ = ("_reader", "exchange", "slot", "transport")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self._reader: Reader = HttptoolsReader() if INSTALLED else ResponseReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def begin(self, exchange: Exchange, request: bytes) -> None:
        """Send a request."""
        self._reader.reset()
        self.exchange = exchange
        exchange.sent = exchange.last_byte = monotonic_ns()
        if self.transport is None:  # closed between being idle and being used
            self._over(exchange, whole=False, lost=Outcome.RESET)
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Note when it came; it is read after all that is ready has been noted."""
        self.slot.inbox.put(self, monotonic_ns(), data)

    def read(self, data: bytes, now: int) -> None:
        """Read what came at ``now``."""
        exchange = self.exchange
        if exchange is None:
            self.abort()  # bytes that nobody asked for: this connection can't be trusted
            return
        if not exchange.first_byte:
            exchange.first_byte = now
        exchange.last_byte = now
        reader = self._reader
        try:
            body = reader.feed(data)
        except HttpError as error:
            exchange.status = reader.status
            exchange.fail(Outcome.GARBAGE, str(error))
            self.abort()
            self._over(exchange, whole=False)
            return
        exchange.status = status = reader.status
        if status == 200:
            if body:
                exchange.feed(body, now)
        elif body:
            exchange.feed_error(body)
        if reader.complete:
            if not reader.keep_alive:
                self.abort()
            self._over(exchange, whole=True, now=now)

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Settle what was in flight, or note that an idle connection is gone."""
        self.slot.inbox.drain()
        self.transport = None
        exchange = self.exchange
        if exchange is None:
            self.slot.lost(self)
            return
        whole = self._reader.end() and error is None
        reset = isinstance(error, ConnectionError) or not exchange.first_byte
        self._over(exchange, whole=whole, lost=Outcome.RESET if reset else Outcome.CUT)

    def abort(self) -> None:
        """Drop the connection at once."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def give_up(self, outcome: Outcome, detail: str) -> None:
        """End the request in flight as what it is now, and drop the connection."""
        exchange = self.exchange
        if exchange is None:
            return
        if not exchange.ended:
            exchange.fail(outcome, detail)
        self.abort()
        self._over(exchange, whole=False)

    def _over(
        self,
        exchange: Exchange,
        *,
        whole: bool,
        lost: Outcome = Outcome.CUT,
        now: int = 0,
    ) -> None:
        self.exchange = None
        exchange.finish_at(now or monotonic_ns(), whole=whole, lost=lost)
        self.slot.over(exchange)


class Slot:
    """One place for a request in flight; it has a connection, and gets a new one when it breaks."""

    __slots__ = ("_closed", "_connection", "_driver", "_failures", "_retry", "_task", "inbox")

    def __init__(self, driver: Driver) -> None:
        self.inbox = driver.inbox
        self._driver = driver
        self._connection: Connection | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def exchange(self) -> Exchange | None:
        """Return the request in flight."""
        return self._connection.exchange if self._connection else None

    @property
    def connected(self) -> bool:
        """Tell whether a request can be sent now."""
        connection = self._connection
        return connection is not None and connection.transport is not None

    def open(self, context: ssl.SSLContext | None) -> None:
        """Start to connect; ``ready`` or a refused ``ended`` of the driver follows."""
        self._retry = None
        if self._closed or self._task is not None:
            return
        self._task = asyncio.get_running_loop().create_task(self._connect(context))
        self._task.add_done_callback(self._connected)

    async def _connect(self, context: ssl.SSLContext | None) -> None:
        target = self._driver.target
        loop = asyncio.get_running_loop()
        async with self._driver.connecting, asyncio.timeout(self._driver.patience.connect):
            _, self._connection = await loop.create_connection(
                lambda: Connection(self),
                target.host,
                target.port,
                ssl=context,
                server_hostname=target.host if context else None,
            )

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled() or self._closed:
            if not task.cancelled():
                task.exception()
            return
        error = task.exception()
        if error is None:
            self._driver.ready(self)
            return
        if not isinstance(error, OSError):  # TimeoutError is one
            raise error
        self._failures += 1
        self._driver.refused(self, str(error) or "no connection in time")

    def begin(self, exchange: Exchange, body: bytes) -> None:
        """Send a request on the open connection."""
        assert self._connection is not None  # noqa: S101 - the driver asked ``connected``
        self._connection.begin(exchange, self._driver.target.request(body))

    def over(self, exchange: Exchange) -> None:
        """Hand a finished request on."""
        failed = exchange.outcome not in (Outcome.OK, Outcome.STOPPED)
        self._failures = self._failures + 1 if failed else 0
        self._driver.ended(self, exchange)

    @property
    def failing(self) -> bool:
        """Tell whether the last request of this slot failed."""
        return self._failures > 0

    def lost(self, connection: Connection) -> None:
        """Take note that the server closed an idle connection."""
        if connection is self._connection and not self._closed:
            self._driver.idle_lost(self)

    def later(self, call: Callable[[], None]) -> None:
        """Call soon, or after a pause that grows while this slot's requests fail.

        Without the pause, a server that refuses at once would be asked as fast as it refuses.
        """
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        if not self._failures:
            loop.call_soon(call)
            return
        wait = BACKOFF[min(self._failures, len(BACKOFF)) - 1]
        self._retry = loop.call_later(wait, call)

    def check(self, now: int) -> None:
        """Give up a request that waits longer than the patience allows."""
        connection = self._connection
        exchange = connection.exchange if connection else None
        if connection is None or exchange is None:
            return
        patience = self._driver.patience
        waited = (now - exchange.last_byte) / NS
        if not exchange.first_byte and waited > patience.first_byte:
            connection.give_up(Outcome.TIMEOUT, f"no answer within {patience.first_byte:g} s")
        elif exchange.first_byte and waited > patience.stall:
            connection.give_up(Outcome.STALLED, f"silent for {patience.stall:g} s")
        elif (now - exchange.sent) / NS > patience.total:
            connection.give_up(Outcome.TIMEOUT, f"no end within {patience.total:g} s")

    def close(self) -> None:
        """Stop what is in flight and drop the connection."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.give_up(Outcome.STOPPED, "")
            self._connection.abort()
