"""A demo: settings that point at a simulated cloud of this very process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from agent.settings import Settings, default_state


@contextlib.asynccontextmanager
async def open_demo(name: str, settings: Settings) -> AsyncIterator[Settings]:
    """Start the scenario (a shipped name or a file) and yield settings that see only it.

    The real clients talk to it on loopback. Its incidents go to a file of their own unless
    GEMMA_SRE_STATE names one: a simulation never enters the history of real incidents.
    """
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario

    async with SimulatedCloud(load_scenario(name)) as cloud:
        config, endpoint, target = cloud.config(), cloud.endpoint_config(), cloud.target()
        state = settings.state
        if "GEMMA_SRE_STATE" not in os.environ and state == default_state():
            state = state.with_name("demo.db")
        yield settings.model_copy(
            update={
                "project": config.project,
                "location": config.location,
                "zone": config.zone,
                "loopback": config.loopback,
                "now": config.now,
                "kind": target.kind,
                "service": target.service,
                "base_url": endpoint.url if target.kind in {"local", "tpu"} else "",
                "model": endpoint.model,
                "state": state,
                "simulated": name,
            }
        )
