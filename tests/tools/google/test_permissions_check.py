from __future__ import annotations

from dataclasses import replace

from tools.config import CloudConfig, EndpointConfig, TimeLimits
from tools.domain import Target
from tools.google.clients import Cloud
from tools.google.errors import permission_facts, roles_granting
from tools.google.permissions_check import Check, check_access, check_endpoint, check_names
from tools.simulator.cloud import SimulatedCloud


async def checks(
    cloud: Cloud, target: Target, endpoint: EndpointConfig | None = None
) -> dict[str, Check]:
    return {check.name: check async for check in check_access(cloud, target, endpoint)}


async def test_all_is_well(cloud: Cloud, simulated: SimulatedCloud) -> None:
    found = await checks(cloud, simulated.target(), simulated.endpoint_config())
    assert list(found) == [
        "credentials",
        "project",
        "logging.logEntries.list",
        "monitoring.timeSeries.list",
        "run.services.list",
        "run.services.get",
        "run.revisions.list",
        "endpoint",
        "model context",
    ]
    assert all(check.ok for check in found.values())
    assert found["model context"].detail.endswith("tokens")


async def test_each_missing_permission_names_its_role(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    simulated.inject(
        "logging.*", error={"code": "PERMISSION_DENIED", "permission": "logging.logEntries.list"}
    )
    simulated.inject("run.ListServices", error={"code": "PERMISSION_DENIED"})
    found = await checks(cloud, simulated.target())
    failed = {name: check.role for name, check in found.items() if not check.ok}
    assert failed == {
        "logging.logEntries.list": "roles/logging.viewer",
        "run.services.list": "roles/run.viewer",
    }


async def test_what_does_not_exist_needs_no_role(cloud: Cloud, simulated: SimulatedCloud) -> None:
    found = await checks(cloud, replace(simulated.target(), service="absent"))
    assert found["run.services.get"].ok
    assert "absent" in found["run.services.get"].detail


async def test_tpu_permissions(cloud: Cloud, simulated: SimulatedCloud) -> None:
    target = replace(simulated.target(), kind="tpu", zone="us-east5-a")
    assert {"tpu.queuedResources.list", "tpu.nodes.list"} <= set(await checks(cloud, target))


async def test_no_project_stops_the_cloud_checks(simulated: SimulatedCloud) -> None:
    async with Cloud(CloudConfig(loopback=simulated.grpc_address)) as cloud:
        found = await checks(cloud, Target("cloud-run"))
    assert not found["project"].ok
    assert "GOOGLE_CLOUD_PROJECT" in found["project"].detail


async def test_an_endpoint_that_is_away(simulated: SimulatedCloud) -> None:
    simulated.behave("refuse")
    limits = TimeLimits(connect=0.3, health=0.3)
    endpoint = simulated.endpoint_config(limits)
    answer, context = await check_endpoint(
        CloudConfig(), Target("local", url=endpoint.url), endpoint
    )
    assert not answer.ok
    assert answer.detail.startswith("refused")
    assert not context.ok


async def test_names_are_tested_read_only(cloud: Cloud, simulated: SimulatedCloud) -> None:
    cloud.log_reads._size = cloud.log_reads._tokens = 1000  # the pace has a test of its own
    found = {name.name: name async for name in check_names(cloud)}
    assert found["run.googleapis.com/container/instance_count"].state == "confirmed"
    assert found["run.googleapis.com/stderr"].state == "confirmed"
    assert found["cloud_run_revision"].state == "confirmed"
    assert found["tpu_worker"].state == "not seen"
    simulated.inject("monitoring.*", error={"code": "INVALID_ARGUMENT", "message": "no"})
    found = {name.name: name async for name in check_names(cloud)}
    assert found["run.googleapis.com/container/instance_count"].state == "unknown"
    methods = {call.method for call in simulated.calls}
    assert methods == {"logging.ListLogEntries", "monitoring.ListMetricDescriptors"}


def test_every_permission_has_a_role_a_source_and_a_day() -> None:
    for name, fact in permission_facts().items():
        assert fact.roles
        assert all(role.startswith("roles/") for role in fact.roles)
        assert fact.source
        assert fact.read
        assert roles_granting(name) == fact.roles
    assert roles_granting("no.such.permission") == ()
