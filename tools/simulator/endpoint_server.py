"""The HTTP server of the simulated endpoint: it can refuse, stall, cut, reset and talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import h11

from tools.errors import UsageError
from tools.simulator.calls import Call
from tools.simulator.clock import SimulatedClock
from tools.simulator.faults import FaultBook
from tools.simulator.scenario import Scenario
from tools.simulator.timeline import parse_span, parse_time
from tools.simulator.vllm_api import SimulatedVllm
from tools.simulator.vllm_errors import (
    Reply,
    error_reply,
    front_end_forbidden,
    front_end_no_instance,
    front_end_starting,
)

#: Every behaviour, and what a client sees of it.
BEHAVIOURS = {
    "normal": "answers as vLLM does",
    "refuse": "connection refused",
    "reset": "connection reset after the request",
    "hangup": "connection closed without a byte",
    "stall": "accepts, reads, and never answers",
    "unavailable": "503 from Cloud Run's front end",
    "starting_500": "500 while an instance starts",
    "starting_503": "503 while an instance starts",
    "forbidden_html": "403 with the front end's HTML page",
    "no_instance": "429, no available instance",
    "malformed": "200 with a body that is not JSON",
    "empty_body": "200 with an empty body",
    "empty_reply": "chat: 200 with an empty message",
    "only_reasoning": "chat: only reasoning, then finish_reason length",
    "cut_tool_call": "chat: a tool call whose JSON is cut",
    "tool_call_as_text": "chat: a tool call written as raw text",
    "stall_stream": "chat: some tokens, then silence",
    "cut_stream": "chat: some tokens, then the connection is cut",
    "asleep": "scaled to zero: the first request wakes it, 503 until it is up",
}


class SimulatedEndpointServer:
    """Serve a scenario's endpoint on a loopback port, which it keeps also while it refuses."""

    def __init__(
        self,
        scenario: Scenario,
        clock: SimulatedClock,
        faults: FaultBook,
        calls: list[Call],
        seed: int,
    ) -> None:
        self.vllm = SimulatedVllm(scenario, clock, seed)
        self.woken = False
        self._scenario = scenario
        self._clock = clock
        self._faults = faults
        self._calls = calls
        self._told = ""
        self._woken_at = clock.now()
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._opening: asyncio.Task[None] | None = None
        self.port = 0
        self.bodies: list[bytes] | None = None

    @property
    def behaviour(self) -> str:
        """Return the behaviour at the simulated time."""
        if self._told:
            return self._told
        endpoint = self._scenario.endpoint
        current = str(endpoint.get("behaviour", "normal"))
        for row in endpoint.get("timeline", ()):
            if parse_time(row["at"], self._scenario.now) <= self._clock.now():
                current = str(row["behaviour"])
        if current == "asleep" and self.woken:
            cold = parse_span(self._scenario.endpoint.get("cold_start", "2m"))
            return "starting_503" if self._clock.now() < self._woken_at + cold else "normal"
        return current

    async def start(self) -> None:
        """Take a port, and listen on it unless the behaviour is to refuse."""
        self._socket = _bound(0)
        self.port = self._socket.getsockname()[1]
        if self.behaviour != "refuse":
            await self._listen()

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._opening is not None:
            await self._opening
        self._close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def behave(self, name: str) -> None:
        """Change the behaviour from now on; ``normal`` ends it. Raises UsageError."""
        if name not in BEHAVIOURS:
            raise UsageError(
                f"{name!r} is not a behaviour.", fix=f"One of: {', '.join(BEHAVIOURS)}."
            )
        refused = self._server is None
        self._told = name
        if name == "refuse" and not refused:
            self._close()
            # Shut down at once, not in the loop's next round: a client with a pooled connection
            # must see that it is gone before it asks again.
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            for task in list(self._tasks):
                task.cancel()
            # A bound socket that does not listen keeps the port and refuses connections.
            self._socket = _bound(self.port)
        elif name != "refuse" and refused and self._socket is not None:
            self._socket.listen(100)
            self._opening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        if self._socket is not None:
            sock, self._socket = self._socket, None
            self._server = await asyncio.start_server(self._accept, sock=sock)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        self._connections.add(writer)
        try:
            while (received := await _receive(peer, reader)) is not None:
                request, body = received
                if not await self._respond(peer, request, body, reader, writer):
                    break
                if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                    break
                peer.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError):
            pass  # the client went away or talks nonsense: nothing to answer
        finally:
            self._connections.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _respond(
        self,
        peer: h11.Connection,
        request: h11.Request,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        method, path = request.method.decode(), request.target.decode()
        name = f"http:{path.partition('?')[0]}"
        summary = f"{method} {path} {body[:2000].decode(errors='replace')}".strip()
        if self.bodies is not None and body:
            self.bodies.append(body)
        behaviour = self.behaviour
        if behaviour == "asleep":
            self.woken, self._woken_at = True, self._clock.now()
        reply: Reply | None = None
        for fault in self._faults.take(name):
            await asyncio.sleep(fault.latency)
            behaviour = fault.behaviour or ("stall" if fault.stall else behaviour)
            behaviour = "malformed" if fault.malformed else behaviour
            if fault.error:
                status = int(fault.error.get("status", 500))
                message = str(fault.error.get("message", "injected fault"))
                reply = error_reply(message, "InternalServerError", None, status)
        reply = reply or self._refusal(behaviour, path, request)
        if reply is None and behaviour in {"stall", "hangup", "reset"}:
            self._calls.append(Call(name, summary, "none", self._clock.now()))
            if behaviour == "stall":
                while await reader.read(65_536):
                    pass
            elif behaviour == "reset":
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            return False
        if reply is None:
            reply = self.vllm.answer(method, path, body, behaviour)
            if behaviour == "malformed" and path != "/health":
                reply = Reply(body=b'{"id": "chatcmpl-0", "choices": [{"mess')
            elif behaviour == "empty_body":
                reply = Reply()
        self._calls.append(Call(name, summary, str(reply.status), self._clock.now()))
        return await _send(peer, reply, reader, writer)

    def _refusal(self, behaviour: str, path: str, request: h11.Request) -> Reply | None:
        match behaviour:
            case "unavailable" | "starting_503" | "asleep":
                return front_end_starting(503)
            case "starting_500":
                return front_end_starting(500)
            case "forbidden_html":
                return front_end_forbidden(path)
            case "no_instance":
                return front_end_no_instance()
        headers = {key.lower(): value for key, value in request.headers}
        if self._scenario.endpoint.get("private") and b"authorization" not in headers:
            return front_end_forbidden(path)
        return None


async def _receive(
    peer: h11.Connection, reader: asyncio.StreamReader
) -> tuple[h11.Request, bytes] | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = peer.next_event()
        if event is h11.NEED_DATA:
            peer.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, body
        else:
            return None


async def _send(
    peer: h11.Connection, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    headers = [("server", "uvicorn"), *reply.headers]
    if reply.chunks is None:
        headers.append(("content-length", str(len(reply.body))))
    else:
        headers.append(("transfer-encoding", "chunked"))
    if reply.body or reply.chunks is not None:
        headers.append(("content-type", reply.content_type))
    writer.write(peer.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
    chunks = reply.chunks if reply.chunks is not None else [reply.body]
    if reply.ending != "complete":
        chunks = chunks[: max(1, len(chunks) - 3)]
    if reply.ending != "complete" and reply.chunks is None:
        chunks = [reply.body[: len(reply.body) // 2]]
    for chunk in chunks:
        if chunk:
            writer.write(peer.send(h11.Data(data=chunk)) or b"")
            await writer.drain()
        if reply.delay:
            await asyncio.sleep(reply.delay)
    if reply.ending == "stall":
        while await reader.read(65_536):
            pass
        return False
    if reply.ending == "cut":
        if reply.chunks is not None:
            # Half of a chunk: its header promises more than ever comes.
            whole = peer.send(h11.Data(data=reply.chunks[len(chunks)])) or b""
            writer.write(whole[: len(whole) // 2])
            await writer.drain()
        return False
    writer.write(peer.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    return True


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
