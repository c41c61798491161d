from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.demo import demo_settings
from agent.events import Event, TurnFailed, VerdictReached
from agent.session import DiagnoseRequest, Session
from agent.settings import Limits, Settings, StandIn
from tools.simulator.cloud import SimulatedCloud

FAST = Limits(cloud=5, connect=1, health=0.4, first_token=0.4, stall=0.1, answer=2)


@dataclass
class Diagnosed:
    """A finished diagnosis: its report, and every event on the way."""

    events: Sequence[Event]
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Sequence[Event]) -> Diagnosed:
        failed = [event for event in events if isinstance(event, TurnFailed)]
        assert not failed, failed
        (reached,) = (event for event in events if isinstance(event, VerdictReached))
        return cls(events, dict(reached.report))

    def core(self) -> tuple[Any, ...]:
        """What must not depend on the model."""
        return (
            self.report["verdict"],
            [cause["id"] for cause in self.report["causes"]],
            [cause["confidence"] for cause in self.report["causes"]],
        )


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GEMMA_SRE_CONFIG", str(tmp_path / "none.toml"))
    for name in ("VLLM_BASE_URL", "MODEL_NAME", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return Settings.load(state=tmp_path / "state.db", limits=FAST)


Diagnose = Callable[..., Awaitable[Diagnosed]]


@pytest.fixture
def diagnose(settings: Settings) -> Diagnose:
    async def run(
        cloud: SimulatedCloud | None,
        *,
        brain: SimulatedCloud | None = None,
        request: DiagnoseRequest | None = None,
    ) -> Diagnosed:
        chosen = settings if cloud is None else demo_settings(cloud, settings)
        if brain is not None:
            endpoint = brain.endpoint_config()
            stand_in = StandIn(base_url=endpoint.url, model=endpoint.model, consent=True)
            chosen = chosen.model_copy(update={"stand_in": stand_in})
        session = await Session.open(chosen)
        try:
            return Diagnosed.of([e async for e in session.diagnose(request or DiagnoseRequest())])
        finally:
            await session.close()

    return run
