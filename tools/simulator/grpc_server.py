"""The gRPC server: derived methods, strict requests, faults, and a record of every call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import code_pb2

from tools.simulator.calls import Call
from tools.simulator.clock import SimulatedClock
from tools.simulator.faults import FaultBook
from tools.simulator.methods import Method, method_table
from tools.simulator.status import DETAILS_KEY, Refusal, from_fault, invalid

_CODES = {code.value[0]: code for code in grpc.StatusCode}
#: An answer that no protobuf parser accepts: a field header with no field behind it.
_MALFORMED = b"\x0a\xff\xff\xff\xff"


class SimulatedGrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Serve ``handlers`` (short name → function of the request) on a loopback port."""

    def __init__(
        self,
        handlers: Mapping[str, Callable[[Any], Any]],
        *,
        project: str,
        clock: SimulatedClock,
        faults: FaultBook,
        calls: list[Call],
    ) -> None:
        self._handlers = handlers
        self._project = project
        self._clock = clock
        self._faults = faults
        self._calls = calls
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Start, and return the port."""
        method_table()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        port: int = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Stop, and cut the calls that still run."""
        if self._server is not None:
            await self._server.stop(grace=None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path; grpc answers UNIMPLEMENTED without one."""
        method = method_table().get(handler_call_details.method)
        if method is None:
            return None

        async def answer(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return await self._answer(method, data, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _answer(
        self, method: Method, data: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        summary, status = "", "none"
        try:
            request = _parse(method, data)
            summary = summarize(request)
            for fault in self._faults.take(method.name):
                if fault.latency:
                    await asyncio.sleep(fault.latency)
                if fault.stall:
                    await asyncio.Event().wait()
                if fault.malformed:
                    return _MALFORMED
                if fault.error:
                    raise from_fault(fault.error, method=method.name, project=self._project)
            handler = self._handlers.get(method.name)
            if handler is None:
                raise Refusal("UNIMPLEMENTED", f"The simulation does not know {method.name}.")
            response = handler(request)
            status = "OK"
            return _bytes(response)
        except Refusal as refusal:
            status = refusal.code
            code = _CODES[code_pb2.Code.Value(refusal.code)]
            details = refusal.status().SerializeToString()
            await context.abort(code, refusal.message, ((DETAILS_KEY, details),))
            raise AssertionError("abort returns never") from None
        finally:
            self._calls.append(Call(method.name, summary, status, self._clock.now()))


def _parse(method: Method, data: bytes) -> Any:
    try:
        request = method.parse(data)
    except DecodeError:
        raise invalid("Request proto is invalid.") from None
    unknown = _unknown_field(_raw(request))
    if unknown:
        raise invalid(f"Invalid value: request contains an unknown field: {unknown}")
    return request


def _raw(message: Any) -> Message:
    raw: Message = message if isinstance(message, Message) else type(message).pb(message)
    return raw


def _bytes(response: Any) -> bytes:
    return bytes(_raw(response).SerializeToString())


def summarize(request: Any) -> str:
    """Return a request as one line of JSON, cut to 1,000 characters."""
    text: str = json_format.MessageToJson(_raw(request), indent=None)
    return text[:1000]


def _unknown_field(message: Message) -> str:
    # protobuf keeps fields that it does not know; the real services' JSON front refuses them.
    name = str(message.DESCRIPTOR.full_name)
    for unknown in UnknownFieldSet(message):
        return f"field {unknown.field_number} of {name}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        repeated = isinstance(value, Message) is False
        for item in value if repeated else (value,):
            if found := _unknown_field(item):
                return found
    return ""
