from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tools.config import TimeLimits
from tools.google.clients import Cloud
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


@pytest.fixture
async def cloud(simulated: SimulatedCloud) -> AsyncIterator[Cloud]:
    async with Cloud(simulated.config(TimeLimits(cloud=1.5))) as opened:
        yield opened


@pytest.fixture(scope="session")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def key_file(private_key: str, tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "key-project",
                "private_key_id": "1",
                "private_key": private_key,
                "client_email": "probe@key-project.iam.gserviceaccount.com",
                "token_uri": "http://127.0.0.1:1/token",
            }
        )
    )
    return path
