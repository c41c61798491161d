"""The method table of the gRPC server, derived from the real clients' own transports.

The client wheels ship no servicers, but each stub of a GAPIC transport names the path, the request
serialiser and the response deserialiser of its method. Building a transport on a channel that only
takes notes yields the table; inverted, it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from google.cloud.location import locations_pb2
from google.cloud.logging_v2.services.logging_service_v2.transports import (
    LoggingServiceV2GrpcAsyncIOTransport,
)
from google.cloud.monitoring_v3.services.metric_service.transports import (
    MetricServiceGrpcAsyncIOTransport,
)
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.cloud.run_v2.services.revisions.transports import RevisionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.services.transports import ServicesGrpcAsyncIOTransport
from google.cloud.tpu_v2alpha1.services.tpu.transports import TpuGrpcAsyncIOTransport
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2

_TRANSPORTS = (
    LoggingServiceV2GrpcAsyncIOTransport,
    MetricServiceGrpcAsyncIOTransport,
    ServicesGrpcAsyncIOTransport,
    RevisionsGrpcAsyncIOTransport,
    JobsGrpcAsyncIOTransport,
    TpuGrpcAsyncIOTransport,
)

# A pb2 message's SerializeToString does not say which class it belongs to, so the requests of the
# mixin services are named here.
_MIXIN_REQUESTS: dict[str, Any] = {
    "ListOperations": operations_pb2.ListOperationsRequest,
    "GetOperation": operations_pb2.GetOperationRequest,
    "DeleteOperation": operations_pb2.DeleteOperationRequest,
    "CancelOperation": operations_pb2.CancelOperationRequest,
    "WaitOperation": operations_pb2.WaitOperationRequest,
    "ListLocations": locations_pb2.ListLocationsRequest,
    "GetLocation": locations_pb2.GetLocationRequest,
    "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
    "SetIamPolicy": iam_policy_pb2.SetIamPolicyRequest,
    "TestIamPermissions": iam_policy_pb2.TestIamPermissionsRequest,
}

_SHORT = {
    "google.logging.v2.LoggingServiceV2": "logging",
    "google.monitoring.v3.MetricService": "monitoring",
    "google.cloud.run.v2.Services": "run",
    "google.cloud.run.v2.Revisions": "run",
    "google.cloud.run.v2.Jobs": "run",
    "google.cloud.tpu.v2alpha1.Tpu": "tpu",
    "google.longrunning.Operations": "operations",
    "google.cloud.location.Locations": "locations",
    "google.iam.v1.IAMPolicy": "iam",
}


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method: its path, its short name (``run.GetService``), its request class."""

    path: str
    name: str
    request: Any

    def parse(self, data: bytes) -> Any:
        """Return the request; raises google.protobuf.message.DecodeError."""
        if hasattr(self.request, "deserialize"):
            return self.request.deserialize(data)
        return self.request.FromString(data)


class _NotingChannel(grpc.aio.Channel):  # type: ignore[misc]
    # Stands in for a channel and only notes which stubs are asked of it.

    def __init__(self) -> None:
        self.unary: dict[str, Any] = {}
        self._unary_unary_interceptors: list[Any] = []
        self._loop = None

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,  # noqa: ARG002 - the signature is grpc's
        _registered_method: bool | None = False,
    ) -> Callable[..., Any]:
        self.unary[method] = request_serializer
        return _never

    def unary_stream(self, *_: Any, **__: Any) -> Any:
        return _never

    def stream_unary(self, *_: Any, **__: Any) -> Any:
        return _never

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        return _never

    async def close(self, grace: float | None = None) -> None:  # noqa: ARG002
        return None

    async def __aenter__(self) -> _NotingChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def get_state(self, try_to_connect: bool = False) -> Any:  # noqa: ARG002
        return grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: Any) -> None:  # noqa: ARG002
        return None

    async def channel_ready(self) -> None:
        return None


async def _never(*_: object, **__: object) -> None:
    raise AssertionError("a noting channel carries no calls")


@cache
def method_table() -> dict[str, Method]:
    """Return the methods by path; derived once a process."""
    table: dict[str, Method] = {}
    for transport_class in _TRANSPORTS:
        channel = _NotingChannel()
        transport = transport_class(channel=channel)
        for name in dir(type(transport)):
            if isinstance(getattr(type(transport), name), property):
                getattr(transport, name)
        for path, serializer in channel.unary.items():
            service, method = path.lstrip("/").split("/")
            owner = getattr(serializer, "__self__", None)
            request = owner if isinstance(owner, type) else _MIXIN_REQUESTS.get(method)
            if request is not None:
                table[path] = Method(path, f"{_SHORT.get(service, service)}.{method}", request)
    return table
