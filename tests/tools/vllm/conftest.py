from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, from_row

ROWS = Path(__file__).parent.parent / "probes"


@pytest.fixture
def scenario() -> Scenario:
    return from_row(yaml.safe_load((ROWS / "failing_service.yaml").read_text()))


@pytest.fixture
async def simulated(scenario: Scenario) -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(scenario) as cloud:
        yield cloud
