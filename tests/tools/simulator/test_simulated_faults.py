from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.rpc import error_details_pb2

from tools.simulator.cloud import SimulatedCloud, run_in_thread
from tools.simulator.scenario import load_scenario

PROJECT = "projects/demo-project"
SERVICE = f"{PROJECT}/locations/us-east4/services/gemma-4-12b"


@pytest.mark.parametrize("scenario_name", ["logs-forbidden"])
async def test_a_missing_permission_is_named(cloud: SimulatedCloud, clients: Any) -> None:
    with pytest.raises(exceptions.PermissionDenied) as caught:
        await clients.logging.list_log_entries(resource_names=[PROJECT])
    assert caught.value.reason == "IAM_PERMISSION_DENIED"
    assert caught.value.metadata["permission"] == "logging.logEntries.list"
    assert cloud.calls[-1].status == "PERMISSION_DENIED"
    assert (await clients.services.get_service(name=SERVICE)).name == SERVICE


async def test_a_quota_says_how_long_to_wait(cloud: SimulatedCloud, clients: Any) -> None:
    cloud.inject(
        "logging.ListLogEntries", error={"code": "RESOURCE_EXHAUSTED", "retry_after": 1.5}, times=1
    )
    with pytest.raises(exceptions.ResourceExhausted) as caught:
        await clients.logging.list_log_entries(resource_names=[PROJECT])
    assert caught.value.reason == "RATE_LIMIT_EXCEEDED"
    assert caught.value.metadata["quota_limit_value"] == "60"
    kinds = {type(detail) for detail in caught.value.details}
    assert kinds >= {error_details_pb2.RetryInfo, error_details_pb2.QuotaFailure}
    (retry,) = [one for one in caught.value.details if isinstance(one, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.ToNanoseconds() == 1_500_000_000
    await clients.logging.list_log_entries(resource_names=[PROJECT])


async def test_clients_retry_unavailable(cloud: SimulatedCloud, clients: Any) -> None:
    cloud.inject("run.*", error={"code": "UNAVAILABLE"}, times=1)
    await clients.services.get_service(name=SERVICE)
    assert [call.status for call in cloud.calls] == ["UNAVAILABLE", "OK"]


async def test_latency_is_real(cloud: SimulatedCloud, clients: Any) -> None:
    cloud.inject("*", latency=0.1)
    start = time.perf_counter()
    await asyncio.gather(*(clients.services.get_service(name=SERVICE) for _ in range(20)))
    assert 0.1 <= time.perf_counter() - start < 1.0


async def test_a_stall_ends_in_the_clients_deadline(cloud: SimulatedCloud, clients: Any) -> None:
    cloud.inject("run.GetService", stall=True)
    with pytest.raises(exceptions.DeadlineExceeded):
        await clients.services.get_service(name=SERVICE, timeout=0.05, retry=None)


async def test_a_malformed_answer_is_no_answer(cloud: SimulatedCloud, clients: Any) -> None:
    # grpc.aio logs what it could not parse, and then returns None where it should raise.
    cloud.inject("run.GetService", malformed=True, times=1)
    assert await clients.services.get_service(name=SERVICE, retry=None) is None


def test_blocking_clients_use_a_thread() -> None:
    import grpc
    from google.cloud import run_v2

    with run_in_thread(load_scenario("healthy")) as cloud:
        with grpc.insecure_channel(cloud.grpc_address) as channel:
            transport = run_v2.ServicesClient.get_transport_class("grpc")(channel=channel)
            service = run_v2.ServicesClient(transport=transport).get_service(name=SERVICE)
        assert service.uri == cloud.base_url
        assert cloud.calls_to("run.GetService")
