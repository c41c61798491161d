from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx2
import pytest
from google.cloud import monitoring_v3, run_v2, tpu_v2alpha1
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario


def make_client(kind: Any, channel: grpc.aio.Channel) -> Any:
    return kind(transport=kind.get_transport_class("grpc_asyncio")(channel=channel))


@pytest.fixture
def client_of() -> Callable[[Any, grpc.aio.Channel], Any]:
    return make_client


@dataclass
class Clients:
    logging: LoggingServiceV2AsyncClient
    monitoring: monitoring_v3.MetricServiceAsyncClient
    services: run_v2.ServicesAsyncClient
    revisions: run_v2.RevisionsAsyncClient
    tpu: tpu_v2alpha1.TpuAsyncClient


@pytest.fixture
def scenario_name() -> str:
    return "int4-kernel-l4"


@pytest.fixture
async def cloud(scenario_name: str) -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(load_scenario(scenario_name)) as simulated:
        yield simulated


@pytest.fixture
async def clients(cloud: SimulatedCloud) -> AsyncIterator[Clients]:
    async with grpc.aio.insecure_channel(cloud.grpc_address) as channel:
        yield Clients(
            make_client(LoggingServiceV2AsyncClient, channel),
            make_client(monitoring_v3.MetricServiceAsyncClient, channel),
            make_client(run_v2.ServicesAsyncClient, channel),
            make_client(run_v2.RevisionsAsyncClient, channel),
            make_client(tpu_v2alpha1.TpuAsyncClient, channel),
        )


@pytest.fixture
async def http(cloud: SimulatedCloud) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=cloud.base_url, timeout=0.5) as client:
        yield client
