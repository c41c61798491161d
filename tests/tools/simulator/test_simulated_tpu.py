from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import tpu_v2alpha1 as tpu

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

ZONE = "projects/demo-project/locations/us-central1-c"
QUEUE = f"{ZONE}/queuedResources/gemma-v6e-queue"
State = tpu.QueuedResourceState.State


@pytest.fixture
def scenario_name() -> str:
    return "tpu-stockout"


async def test_a_stockout_is_the_state_of_the_queued_resource(clients: Any) -> None:
    (queued,) = [one async for one in await clients.tpu.list_queued_resources(parent=ZONE)]
    assert queued.state.state is State.FAILED
    assert queued.state.failed_data.error.code == 8
    assert "There is no more capacity in the zone" in queued.state.failed_data.error.message
    assert queued.tpu.node_spec[0].node.accelerator_type == "v6e-1"
    assert [node async for node in await clients.tpu.list_nodes(parent=ZONE)] == []


async def test_a_request_waits_as_the_clock_moves(cloud: SimulatedCloud, clients: Any) -> None:
    spec = tpu.QueuedResource.Tpu.NodeSpec(
        parent=ZONE, node_id="n2", node=tpu.Node(accelerator_type="v6e-1", runtime_version="x")
    )
    wanted = tpu.QueuedResource(tpu=tpu.QueuedResource.Tpu(node_spec=[spec]), spot={})
    operation = await clients.tpu.create_queued_resource(
        parent=ZONE, queued_resource=wanted, queued_resource_id="second"
    )
    while not await operation.done():
        pass
    made = await operation.result()
    assert made.state.state is State.WAITING_FOR_RESOURCES
    assert "spot" in made
    deleted = await clients.tpu.delete_queued_resource(name=made.name)
    while not await deleted.done():
        pass
    assert (await deleted.result()).name == made.name
    with pytest.raises(exceptions.NotFound):
        await clients.tpu.get_queued_resource(name=made.name)


async def test_a_zone_without_tpus_is_refused(clients: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="is not supported"):
        await clients.tpu.list_nodes(parent="projects/demo-project/locations/asia-northeast1-a")


async def test_the_past_can_be_replayed(client_of: Any) -> None:

    scenario = load_scenario("tpu-stockout")
    rows = [dict(scenario.queued_resources[0])]
    rows[0]["states"] = [
        {"at": "-1m", "state": "WAITING_FOR_RESOURCES"},
        {"at": "+1m", "state": "PROVISIONING"},
        {"at": "+2m", "state": "ACTIVE"},
    ]
    node = {
        "name": "gemma-v6e",
        "accelerator": "v6e-1",
        "runtime": "v2-alpha-tpuv6e",
        "states": [
            {"at": "+1m", "state": "CREATING"},
            {"at": "+2m", "state": "READY"},
            {"at": "+9m", "state": "PREEMPTED", "health": "TIMEOUT"},
        ],
    }
    replay = dataclasses.replace(scenario, queued_resources=tuple(rows), nodes=(node,))
    async with (
        SimulatedCloud(replay) as cloud,
        grpc.aio.insecure_channel(cloud.grpc_address) as channel,
    ):
        client = client_of(tpu.TpuAsyncClient, channel)
        seen = []
        for _ in range(4):
            queued = await client.get_queued_resource(name=QUEUE)
            nodes = [one.state.name async for one in await client.list_nodes(parent=ZONE)]
            seen.append((queued.state.state.name, *nodes))
            cloud.clock.advance(90)
        assert seen == [
            ("WAITING_FOR_RESOURCES",),
            ("PROVISIONING", "CREATING"),
            ("ACTIVE", "READY"),
            ("ACTIVE", "READY"),
        ]
        cloud.clock.advance(600)
        assert (await client.get_node(name=f"{ZONE}/nodes/gemma-v6e")).health.name == "TIMEOUT"
