"""A demo: settings that point at a simulated cloud of this very process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agent.settings import Settings, default_state

if TYPE_CHECKING:
    from tools.simulator.cloud import SimulatedCloud


@contextlib.asynccontextmanager
async def open_demo(name: str, settings: Settings) -> AsyncIterator[Settings]:
    """Start the scenario (a shipped name or a file) and yield settings that see only it.

    The real clients talk to it on loopback. Its incidents go to a file of their own unless
    GEMMA_SRE_STATE names one: a simulation never enters the history of real incidents.
    """
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    async with SimulatedCloud(load_scenario(name)) as cloud:
        if "GEMMA_SRE_STATE" not in os.environ and settings.state == default_state():
            settings = settings.model_copy(update={"state": settings.state.with_name("demo.db")})
        yield demo_settings(cloud, settings)


def demo_settings(cloud: SimulatedCloud, settings: Settings) -> Settings:
    """Return settings that see this simulated cloud and nothing else."""
    config, endpoint, target = cloud.config(), cloud.endpoint_config(), cloud.target()
    return settings.model_copy(
        update={
            "project": config.project,
            "location": config.location,
            "zone": config.zone,
            "loopback": config.loopback,
            "now": config.now,
            "kind": target.kind,
            "service": target.service,
            # A Cloud Run service is discovered; a TPU node in the simulation has no address.
            "base_url": "" if target.kind == "cloud-run" else endpoint.url,
            "model": endpoint.model,
            "simulated": cloud.scenario.name,
        }
    )
