from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.config import TimeLimits
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, from_row

HERE = Path(__file__).parent


def read_row(name: str) -> dict[str, Any]:
    row: dict[str, Any] = yaml.safe_load((HERE / name).read_text())
    return row


@pytest.fixture
def scenario() -> Scenario:
    return from_row(read_row("failing_service.yaml"))


@pytest.fixture
def tpu_scenario() -> Scenario:
    return from_row(read_row("waiting_tpu.yaml"))


@pytest.fixture
def limits() -> TimeLimits:
    return TimeLimits(cloud=2.0, connect=0.5, health=0.5)


@pytest.fixture
async def cloud(scenario: Scenario) -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(scenario) as simulated:
        yield simulated


@pytest.fixture
async def tpu_cloud(tpu_scenario: Scenario) -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(tpu_scenario) as simulated:
        yield simulated
