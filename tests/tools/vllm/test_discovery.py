from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tools.config import CloudConfig, EndpointConfig
from tools.errors import CloudError, ConfigurationError, NotFound, UsageError
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, from_row
from tools.vllm.discovery import discover

TPU = Path(__file__).parent.parent / "probes" / "waiting_tpu.yaml"
NOTHING = EndpointConfig()


async def test_a_url_wins_and_costs_no_call(simulated: SimulatedCloud) -> None:
    endpoint = EndpointConfig(url="http://10.1.2.3:8000/v1", found_by="VLLM_BASE_URL")
    target = await discover(simulated.config(), endpoint)
    assert (target.kind, target.url, target.found_by) == (
        "local",
        "http://10.1.2.3:8000",
        "VLLM_BASE_URL",
    )
    assert simulated.calls == []


async def test_a_named_service_of_a_named_kind_costs_no_call(simulated: SimulatedCloud) -> None:
    target = await discover(simulated.config(), NOTHING, service="gemma", kind="cloud-run")
    assert (target.kind, target.service, target.location) == ("cloud-run", "gemma", "us-east4")
    assert simulated.calls == []


async def test_a_named_service_of_any_kind(simulated: SimulatedCloud) -> None:
    target = await discover(simulated.config(), NOTHING, service="gemma")
    assert (target.kind, target.url, target.found_by) == (
        "cloud-run",
        simulated.base_url,
        "Cloud Run service",
    )
    config = replace(simulated.config(), location="")
    assert (await discover(config, NOTHING, service="gemma")).location == "us-east4"


async def test_a_url_beside_a_name_stays(simulated: SimulatedCloud) -> None:
    endpoint = EndpointConfig(url="http://127.0.0.1:9", found_by="flag")
    target = await discover(simulated.config(), endpoint, service="gemma")
    assert (target.kind, target.url, target.found_by) == (
        "cloud-run",
        "http://127.0.0.1:9",
        "flag",
    )


async def test_no_name_takes_the_only_service(simulated: SimulatedCloud) -> None:
    assert (await discover(simulated.config(), NOTHING)).service == "gemma"


async def test_several_are_listed(scenario: Scenario) -> None:
    second = {**scenario.services[0], "name": "other"}
    async with SimulatedCloud(replace(scenario, services=(*scenario.services, second))) as cloud:
        with pytest.raises(UsageError, match=r"gemma \(us-east4\), other \(us-east4\)"):
            await discover(cloud.config(), NOTHING)


async def test_a_service_without_a_gpu_is_not_meant(scenario: Scenario) -> None:
    plain = {**scenario.services[0]["revisions"][0], "name": "web-00001-aaa"}
    plain.pop("accelerator")
    web = {"name": "web", "revisions": [plain]}
    async with SimulatedCloud(replace(scenario, services=(*scenario.services, web))) as cloud:
        assert (await discover(cloud.config(), NOTHING)).service == "gemma"


async def test_a_run_app_url_is_never_a_local_endpoint(simulated: SimulatedCloud) -> None:
    endpoint = EndpointConfig(url="https://x-123.us-east4.run.app", found_by="flag")
    target = await discover(simulated.config(), endpoint)
    assert (target.kind, target.service) == ("cloud-run", "")


async def test_nothing_there(simulated: SimulatedCloud) -> None:
    with pytest.raises(NotFound):
        await discover(simulated.config(), NOTHING, service="absent")
    simulated.inject(
        "run.*", error={"code": "PERMISSION_DENIED", "permission": "run.services.list"}
    )
    with pytest.raises(CloudError, match=r"run\.services\.list"):
        await discover(simulated.config(), NOTHING)
    with pytest.raises(ConfigurationError, match="VLLM_BASE_URL"):
        await discover(simulated.config(), NOTHING, kind="local")


async def test_tpu_by_queued_resource_or_node_name() -> None:
    async with SimulatedCloud(from_row(yaml.safe_load(TPU.read_text()))) as cloud:
        for name in ("gemma-qr", "gemma-node"):
            target = await discover(cloud.config(), NOTHING, service=name)
            assert (target.kind, target.service) == ("tpu", "gemma-qr")


async def test_a_zone_given_as_location() -> None:
    config = CloudConfig(project="p", location="us-east5-a")
    target = await discover(config, NOTHING, service="x", kind="tpu")
    assert (target.location, target.zone) == ("us-east5", "us-east5-a")
