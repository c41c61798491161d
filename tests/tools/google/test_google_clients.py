from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tools.config import CloudConfig, TimeLimits
from tools.errors import (
    CloudUnavailable,
    ConfigurationError,
    NotFound,
    PermissionMissing,
    QuotaExceeded,
)
from tools.google.clients import Cloud, counting, is_loopback
from tools.google.monitoring import INSTANCE_COUNT, read_series
from tools.google.run import get_service
from tools.simulator.cloud import SimulatedCloud


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "::1", "127.0.0.1"]
)
def test_loopback_addresses(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["", "10.0.0.1:1", "127.0.0.1.example.com:1", "localhost.example.com", "[::2]:1", "8.8.8.8"],
)
def test_other_addresses_get_no_insecure_channel(address: str) -> None:
    assert not is_loopback(address)
    if address:
        with pytest.raises(ConfigurationError, match="loopback"):
            Cloud(CloudConfig(loopback=address))


async def test_all_clients_share_one_channel(cloud: Cloud) -> None:
    channels = {
        id(client.transport.grpc_channel)
        for client in (cloud.logging, cloud.monitoring, cloud.services, cloud.revisions, cloud.tpu)
    }
    assert len(channels) == 1
    assert cloud.metric is cloud.monitoring
    assert cloud.operations is not None
    assert cloud.run_operations is not None


async def test_missing_permission_names_the_role(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject(
        "run.GetService", error={"code": "PERMISSION_DENIED", "permission": "run.services.get"}
    )
    with pytest.raises(PermissionMissing) as caught:
        await get_service(cloud, "gemma", "us-east4")
    assert caught.value.permission == "run.services.get"
    assert caught.value.roles == ("roles/run.viewer",)
    assert "roles/run.viewer" in caught.value.fix


async def test_permission_is_read_from_the_message_too(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    simulated.inject(
        "run.GetService",
        error={"code": "PERMISSION_DENIED", "message": "Permission 'run.services.get' denied."},
    )
    with pytest.raises(PermissionMissing) as caught:
        await get_service(cloud, "gemma", "us-east4")
    assert caught.value.permission == "run.services.get"


async def test_unavailable_is_tried_again(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject("run.GetService", error={"code": "UNAVAILABLE"}, times=2)
    service = await get_service(cloud, "gemma", "us-east4")
    assert service.name == "gemma"
    assert cloud.calls == 3


async def test_unavailable_for_good_is_reported(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject("run.GetService", error={"code": "UNAVAILABLE"})
    with pytest.raises(CloudUnavailable):
        await get_service(cloud, "gemma", "us-east4")
    assert cloud.calls == 4


async def test_rate_limit_waits_as_told(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject(
        "monitoring.*", error={"code": "RESOURCE_EXHAUSTED", "retry_after": 0.05}, times=1
    )
    start = asyncio.get_running_loop().time()
    assert await read_series(cloud, INSTANCE_COUNT, {}, 10)
    assert asyncio.get_running_loop().time() - start >= 0.05


async def test_rate_limit_beyond_the_time_limit_is_an_error(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    simulated.inject("monitoring.*", error={"code": "RESOURCE_EXHAUSTED", "retry_after": 30})
    with pytest.raises(QuotaExceeded) as caught:
        await read_series(cloud, INSTANCE_COUNT, {}, 10)
    assert caught.value.retry_after == 30
    assert cloud.calls == 1


async def test_rate_limit_without_a_wait_is_not_tried_again(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    simulated.inject("monitoring.*", error={"code": "RESOURCE_EXHAUSTED"})
    with pytest.raises(QuotaExceeded):
        await read_series(cloud, INSTANCE_COUNT, {}, 10)
    assert cloud.calls == 1


async def test_a_stalled_call_ends_at_its_limit(simulated: SimulatedCloud) -> None:
    simulated.inject("run.GetService", stall=True)
    async with Cloud(simulated.config(TimeLimits(cloud=0.1))) as cloud:
        with pytest.raises(CloudUnavailable, match="time limit"):
            await get_service(cloud, "gemma", "us-east4")


async def test_a_malformed_answer_is_unavailable(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject("run.GetService", malformed=True)
    with pytest.raises(CloudUnavailable):
        await get_service(cloud, "gemma", "us-east4")


async def test_counting_includes_tasks_of_the_block(cloud: Cloud) -> None:
    with counting() as outer:
        await get_service(cloud, "gemma", "us-east4")
        with counting() as inner:
            await asyncio.gather(
                get_service(cloud, "gemma", "us-east4"), get_service(cloud, "gemma", "us-east4")
            )
    assert (outer.calls, inner.calls, cloud.calls) == (3, 2, 3)


async def test_no_credentials_is_said_where_a_client_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    async with Cloud(CloudConfig(project="p")) as cloud:
        with pytest.raises(CloudUnavailable, match="gcloud auth application-default login"):
            _ = cloud.logging


async def test_credentials_of_a_key_file_are_used(
    monkeypatch: pytest.MonkeyPatch, key_file: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    async with Cloud(CloudConfig()) as cloud:
        assert cloud.account == "probe@key-project.iam.gserviceaccount.com"
        assert cloud.project == "key-project"
        assert cloud.services is cloud.services


async def test_no_project_says_what_to_set(simulated: SimulatedCloud) -> None:
    async with Cloud(CloudConfig(loopback=simulated.grpc_address)) as cloud:
        with pytest.raises(ConfigurationError, match="GOOGLE_CLOUD_PROJECT"):
            await get_service(cloud, "gemma", "us-east4")


async def test_not_found_without_a_location_asks_the_gpu_regions(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    assert (await get_service(cloud, "gemma")).location == "us-east4"
    with pytest.raises(NotFound, match="--location"):
        await get_service(cloud, "absent")
