"""A simulated vLLM endpoint on loopback that keeps time: for tests, calibration and benchmarks.

It speaks the part of vLLM's API that a load run uses, in the shapes of vLLM 0.32, and notes when
it sent each chunk, so that a client's timing error can be measured against the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic_ns
from typing import Any, Literal, cast

import orjson

from tools.load.stub_service import Job, Queue, Scheduler, Timetable

Fault = Literal[
    "", "error_object", "cut", "stall", "reset", "429", "503", "garbage", "no_usage", "no_finish",
    "no_done", "silent", "reset_early",
]  # fmt: skip
TEMPLATE_TOKENS = 8  # what the simulated chat template adds
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_ID = b'"id":"chatcmpl-stub","object":"chat.completion.chunk","created":0,"model":"stub"'


def frame(payload: bytes) -> bytes:
    """Return one event in a chunk of its own."""
    event = b"data: " + payload + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def delta(field: bytes, text: bytes, finish: bytes = b"null") -> bytes:
    """Return the payload of a chunk with text, as vLLM 0.32 prints it."""
    return (
        b"{%b,"
        b'"choices":[{"index":0,"delta":{"%b":"%b"},"logprobs":null,"finish_reason":%b,'
        b'"token_ids":null}]}' % (_ID, field, text, finish)
    )


def usage(prompt: int, completion: int, reasoning: int) -> bytes:
    """Return the payload of the last chunk of a stream."""
    return (
        b'{%b,"choices":[],"usage":{"prompt_tokens":%d,"total_tokens":%d,'
        b'"completion_tokens":%d,"prompt_tokens_details":null,'
        b'"completion_tokens_details":{"reasoning_tokens":%d}}}'
        % (_ID, prompt, prompt + completion, completion, reasoning)
    )


_ROLE = frame(
    b"{%b,"
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
    b'"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}' % _ID
)
_DONE = frame(b"[DONE]")
_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the simulated endpoint does besides taking time.

    ``faults`` are dealt out to chat requests in turn; ``tokens_per_chunk`` is what speculative
    decoding does to a stream; the first ``reasoning_tokens`` of an answer are its thinking.
    """

    service: Timetable | Queue = field(default_factory=Timetable)
    faults: tuple[Fault, ...] = ()
    tokens_per_chunk: int = 1
    reasoning_tokens: int = 0
    max_model_len: int = 8192
    kv_tokens: int = 0  # 0: not told
    model: str = "stub"
    note_times: bool = True


class SimulatedEndpoint:
    """The server; an async context manager. ``sent`` is what it sent when, per request."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.sent: dict[str, list[int]] = {}  # prompt → monotonic ns of each chunk with text
        self.arrived: dict[str, int] = {}  # prompt → monotonic ns
        self.prompts: list[str] = []
        self.url = ""
        self.scheduler = Scheduler(self.behaviour.service)
        self.faults: Iterator[Fault] = cycle(self.behaviour.faults or ("",))
        self.connections: set[_Served] = set()
        self.served = 0
        self.first = self.last = 0  # monotonic ns of the first and the last chat request
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback and return the URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Served(self), "127.0.0.1", port, backlog=4096
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.url

    async def close(self) -> None:
        """Drop every connection and stop listening."""
        self.scheduler.close()
        for connection in list(self.connections):
            connection.drop()
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0)

    async def __aenter__(self) -> SimulatedEndpoint:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and JSON of anything but a chat request."""
        card = {"id": self.behaviour.model, "max_model_len": self.behaviour.max_model_len}
        match method, path:
            case "GET", "/health":
                return 200, None
            case "GET", "/version":
                return 200, {"version": "0.32.0"}
            case "GET", "/v1/models":
                return 200, {"object": "list", "data": [{"object": "model", **card}]}
            case "GET", "/metrics":
                return 200, self.metrics()
            case "GET", "/served":
                return 200, {"served": self.served, "first": self.first, "last": self.last}
            case "GET", "/timings":
                return 200, {"arrived": self.arrived, "sent": self.sent}
            case "POST", "/tokenize":
                told = orjson.loads(body)
                extra = TEMPLATE_TOKENS if "messages" in told else 0
                count = words(told) + extra
                return 200, {"count": count, "max_model_len": card["max_model_len"], "tokens": []}
        return 404, {"detail": "Not Found"}

    def metrics(self) -> str:
        """Return an exposition with the gauges that a load run reads."""
        label = f'engine="0",model_name="{self.behaviour.model}"'
        running, waiting = self.scheduler.busy, len(self.scheduler.waiting)
        lines = [
            "# TYPE vllm:num_requests_running gauge",
            f"vllm:num_requests_running{{{label}}} {running}.0",
            "# TYPE vllm:num_requests_waiting gauge",
            f"vllm:num_requests_waiting{{{label}}} {waiting}.0",
        ]
        if self.behaviour.kv_tokens:
            size = f'kv_cache_size_tokens="{self.behaviour.kv_tokens}"'
            lines += [
                "# TYPE vllm:cache_config_info gauge",
                f'vllm:cache_config_info{{block_size="16",engine="0",{size}}} 1.0',
            ]
        return "\n".join(lines) + "\n"


def words(told: Mapping[str, Any]) -> int:
    """Return the simulated token count of a request: its words."""
    messages = told.get("messages")
    if not messages:
        return len(str(told.get("prompt", "")).split())
    return sum(len(str(message.get("content", "")).split()) for message in messages)


class _Served(asyncio.Protocol):
    """One connection of the simulated endpoint."""

    def __init__(self, server: SimulatedEndpoint) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._job: Job | None = None
        behaviour = server.behaviour
        service = behaviour.service
        self._at_once = (
            isinstance(service, Timetable)
            and not service.first
            and not service.gap
            and not behaviour.faults
            and not behaviour.note_times
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._transport = None
        if self._job is not None:
            self._server.scheduler.cancel(self._job)
        self._server.connections.discard(self)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                break
            place = data.find(b"Content-Length: ", 0, end)
            if place < 0:
                place = data.lower().find(b"content-length: ", 0, end)
            size = int(data[place + 16 : end].split(b"\r", 1)[0]) if place >= 0 else 0
            stop = end + 4 + size
            if len(data) < stop:
                break
            head, body = data[:end], data[end + 4 : stop]
            self._buffer = data = data[stop:]
            self._request(head, body)

    def _request(self, head: bytes, body: bytes) -> None:
        if self._at_once and head.startswith(b"POST /v1/chat"):
            server = self._server
            server.served += 1
            server.last = monotonic_ns()
            server.first = server.first or server.last
            self.write(_whole(body))
            return
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if (method, path) == ("POST", "/v1/chat/completions"):
            self._chat(orjson.loads(body))
            return
        status, told = self._server.answer(method, path, body)
        self._plain(status, told)

    def _plain(self, status: int, told: Any, extra: str = "") -> None:
        text = (
            told if isinstance(told, str) else "" if told is None else orjson.dumps(told).decode()
        )
        phrase = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}.get(status, "Error")
        self.write(
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n{extra}"
            f"content-length: {len(text.encode())}\r\n\r\n{text}".encode()
        )

    def _chat(self, told: Mapping[str, Any]) -> None:
        server = self._server
        behaviour = server.behaviour
        server.served += 1
        prompt = str(told["messages"][-1]["content"])
        server.prompts.append(prompt)
        fault = next(server.faults)
        if fault in ("429", "503"):
            error = {"message": "simulated", "type": "Unavailable", "code": int(fault)}
            self._plain(int(fault), {"error": error})
            return
        if fault == "reset_early":
            self.reset()
            return
        if fault == "silent":
            return
        tokens = int(told.get("max_completion_tokens") or told.get("max_tokens") or 16)
        times: list[int] = []
        if behaviour.note_times:
            key = prompt[:80]
            server.arrived[key] = monotonic_ns()
            server.sent[key] = times
        per = behaviour.tokens_per_chunk
        chunks = -(-tokens // per)
        prompt_tokens = words(told) + TEMPLATE_TOKENS

        def emit(number: int) -> None:
            parts = [_HEAD, _ROLE] if not number else []
            if (
                fault
                and fault not in ("no_usage", "no_finish", "no_done")
                and number == chunks // 2
            ):
                self._misbehave(fault, b"".join(parts))
                return
            if fault and number > chunks // 2 and not fault.startswith("no_"):
                return
            kind = b"reasoning" if number * per < behaviour.reasoning_tokens else b"content"
            last = number == chunks - 1
            finish = b'"length"' if last and fault != "no_finish" else b"null"
            parts.append(frame(delta(kind, b" word" * min(per, tokens - number * per), finish)))
            if last:
                if fault != "no_usage":
                    thinking = min(behaviour.reasoning_tokens, tokens)
                    parts.append(frame(usage(prompt_tokens, tokens, thinking)))
                if fault != "no_done":
                    parts.append(_DONE)
                parts.append(_END)
            times.append(monotonic_ns())
            self.write(b"".join(parts))

        self._job = server.scheduler.submit(chunks, emit)

    def _misbehave(self, fault: Fault, before: bytes) -> None:
        match fault:
            case "error_object":
                error = {"message": "EngineCore died", "type": "InternalServerError", "code": 500}
                payload = orjson.dumps({"error": error})
                self.write(before + frame(payload) + _DONE + _END)
            case "cut":
                self.write(before)
                if self._transport is not None:
                    self._transport.close()
            case "reset":
                self.write(before)
                asyncio.get_running_loop().call_later(0.005, self.reset)
            case "garbage":
                self.write(before + frame(b'{"id": "chatcmpl-stub", "choices": [{"del') + _END)
            case _:  # stall
                self.write(before)

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def reset(self) -> None:
        # SO_LINGER with zero seconds makes close() send RST instead of FIN.
        transport = self._transport
        if transport is None:
            return
        with contextlib.suppress(OSError):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


_answers: dict[int, bytes] = {}


def _whole(body: bytes) -> bytes:
    # The token count stands near the end of our own requests; a peer's may have spaces.
    place = body.find(b'"max_tokens":')
    if place < 0:
        place = body.find(b'"max_completion_tokens":') + 11
    digits = body[place + 13 : place + 20].lstrip()
    tokens = int(digits[: len(digits) - len(digits.lstrip(b"0123456789"))] or 16)
    answer = _answers.get(tokens)
    if answer is None:
        content = [frame(delta(b"content", b" word")) for _ in range(tokens - 1)]
        last = frame(delta(b"content", b" word", b'"length"'))
        end = frame(usage(16, tokens, 0)) + _DONE + _END
        answer = _answers[tokens] = b"".join([_HEAD, _ROLE, *content, last, end])
    return answer
