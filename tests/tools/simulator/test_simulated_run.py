from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

PARENT = "projects/demo-project/locations/us-east4"
SERVICE = f"{PARENT}/services/gemma-4-12b"
GOOD, BAD = "gemma-4-12b-00010-qkz", "gemma-4-12b-00011-2nn"
State = run_v2.Condition.State


async def test_a_failed_rollout_leaves_the_old_revision_serving(
    cloud: SimulatedCloud, clients: Any
) -> None:
    service = await clients.services.get_service(name=SERVICE)
    assert service.uri == cloud.base_url
    assert service.terminal_condition.state is State.CONDITION_FAILED
    assert BAD in service.terminal_condition.message
    assert service.latest_ready_revision.endswith(GOOD)
    assert service.latest_created_revision.endswith(BAD)
    assert [(t.revision, t.percent) for t in service.traffic_statuses] == [(GOOD, 100)]


async def test_revisions_come_newest_first_with_what_they_run(clients: Any) -> None:
    pager = await clients.revisions.list_revisions(parent=SERVICE)
    newest, older = [revision async for revision in pager]
    assert newest.name == f"{SERVICE}/revisions/{BAD}"
    ready = next(one for one in newest.conditions if one.type_ == "Ready")
    assert ready.state is State.CONDITION_FAILED
    reason = run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR
    assert ready.revision_reason is reason
    new, old = newest.containers[0], older.containers[0]
    assert set(new.args) - set(old.args) == {"--kv-cache-dtype=nvfp4", "--linear-backend=cutlass"}
    secret = next(one for one in new.env if one.name == "HF_TOKEN")
    assert secret.value_source.secret_key_ref.secret == "hf-token"
    assert new.resources.limits["nvidia.com/gpu"] == "1"
    assert newest.node_selector.accelerator == "nvidia-l4"
    assert new.startup_probe.http_get.path == "/health"
    assert newest.volumes[0].gcs.bucket == "demo-project-models"


async def test_the_clock_decides_what_exists(client_of: Any) -> None:
    scenario = load_scenario("int4-kernel-l4")
    rows = [dict(row) for row in scenario.services]
    rows[0]["revisions"] = [
        rows[0]["revisions"][0],
        {**rows[0]["revisions"][1], "created": "+1m", "ready_at": "+3m"},
    ]

    later = dataclasses.replace(scenario, services=tuple(rows))
    async with (
        SimulatedCloud(later) as cloud,
        grpc.aio.insecure_channel(cloud.grpc_address) as channel,
    ):
        services: Any = client_of(run_v2.ServicesAsyncClient, channel)
        assert (await services.get_service(name=SERVICE)).latest_created_revision.endswith(GOOD)
        cloud.clock.advance(90)
        rolling = await services.get_service(name=SERVICE)
        assert rolling.reconciling
        assert rolling.terminal_condition.state is State.CONDITION_RECONCILING
        cloud.clock.advance(120)
        failed = await services.get_service(name=SERVICE)
        assert failed.terminal_condition.state is State.CONDITION_FAILED


async def test_traffic_moves_through_an_operation(cloud: SimulatedCloud, clients: Any) -> None:
    service = await clients.services.get_service(name=SERVICE)
    before = cloud.clock.now()
    kind = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    service.traffic = [run_v2.TrafficTarget(type_=kind, revision=BAD, percent=100)]
    operation = await clients.services.update_service(service=service)
    assert not await operation.done()
    changed = await clients.services.get_service(name=SERVICE)
    while not await operation.done():
        pass
    changed = await operation.result()
    assert [(t.revision, t.percent) for t in changed.traffic_statuses] == [(BAD, 100)]
    assert (cloud.clock.now() - before).total_seconds() >= 20
    with pytest.raises(exceptions.Aborted, match="etag"):
        await clients.services.update_service(service=service)


async def test_a_new_template_makes_a_revision(clients: Any) -> None:
    service = await clients.services.get_service(name=SERVICE)
    service.template.containers[0].args = ["--model=google/gemma-4-12B-it-qat-w4a16-ct"]
    operation = await clients.services.update_service(service=service)
    while not await operation.done():
        pass
    result = await operation.result()
    assert result.latest_created_revision.endswith("gemma-4-12b-00003-sim")
    newest = await clients.revisions.get_revision(name=result.latest_created_revision)
    assert list(newest.containers[0].args) == ["--model=google/gemma-4-12B-it-qat-w4a16-ct"]


async def test_an_operation_that_fails_carries_its_error(client_of: Any) -> None:

    error = {"code": "INTERNAL", "message": "Revision is not ready: the container exited"}
    scenario = dataclasses.replace(
        load_scenario("int4-kernel-l4"),
        operations={"UpdateService": {"duration": "30s", "error": error}},
    )
    async with (
        SimulatedCloud(scenario) as cloud,
        grpc.aio.insecure_channel(cloud.grpc_address) as channel,
    ):
        services: Any = client_of(run_v2.ServicesAsyncClient, channel)
        service = await services.get_service(name=SERVICE)
        operation = await services.update_service(service=service)
        while not await operation.done():
            pass
        with pytest.raises(exceptions.GoogleAPICallError, match="the container exited"):
            await operation.result()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (f"{PARENT}/services/other", exceptions.NotFound),
        ("projects/demo-project/locations/us-west1/services/gemma-4-12b", exceptions.NotFound),
        ("projects/other/locations/us-east4/services/gemma-4-12b", exceptions.PermissionDenied),
        ("services/gemma-4-12b", exceptions.InvalidArgument),
    ],
)
async def test_wrong_names(clients: Any, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await clients.services.get_service(name=name)


async def test_services_of_every_location_are_listed(clients: Any) -> None:
    parent = "projects/demo-project/locations/-"
    pager = await clients.services.list_services(parent=parent)
    assert [service.name async for service in pager] == [SERVICE]


async def test_a_revision_with_traffic_stays(clients: Any) -> None:
    with pytest.raises(exceptions.FailedPrecondition, match="serving traffic"):
        await clients.revisions.delete_revision(name=f"{SERVICE}/revisions/{GOOD}")
