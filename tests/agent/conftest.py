from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.demo import demo_settings
from agent.events import Event, TurnFailed, VerdictReached
from agent.session import DiagnoseRequest, Session
from agent.settings import Limits, Settings, StandIn
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, load_scenario

FAST = Limits(
    cloud=5,
    connect=1,
    health=0.4,
    first_token=0.4,
    stall=0.1,
    answer=2,
    between_tokens=0.4,
    cold_start=0.6,
)


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
            stand_in = StandIn(
                base_url=endpoint.url, model=endpoint.model, consent=True, first=True
            )
            chosen = chosen.model_copy(update={"stand_in": stand_in})
        session = await Session.open(chosen)
        try:
            return Diagnosed.of([e async for e in session.diagnose(request or DiagnoseRequest())])
        finally:
            await session.close()

    return run


# What reads: every other verb of a Google API changes something.
READING = re.compile(r"(?:http:|\w+\.(?:Get|List|Search|Test|Wait|Query|Aggregated))")


def changing_calls(cloud: SimulatedCloud) -> list[str]:
    """The calls that reached the cloud and were not reads."""
    return [call.method for call in cloud.calls if not READING.match(call.method)]


def approved_changes(state: Path) -> int:
    """How many changes were begun under an approval that a person gave for that very call."""
    with contextlib.closing(sqlite3.connect(state)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'change_intents'").fetchone():
            return 0
        rows = db.execute(
            "SELECT i.call, a.decisions FROM change_intents i"
            " JOIN change_approvals a ON a.id = i.approval WHERE a.state = 'decided'"
        ).fetchall()
    return sum(json.loads(decisions)[call]["approved"] for call, decisions in rows)


@pytest.fixture(autouse=True)
def only_approved_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[SimulatedCloud]]:
    """Fail every test of this folder in which a change reached a cloud without an approval."""
    clouds: list[SimulatedCloud] = []
    make = SimulatedCloud.__init__

    def noting(self: SimulatedCloud, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        clouds.append(self)

    monkeypatch.setattr(SimulatedCloud, "__init__", noting)
    yield clouds
    changed = [method for cloud in clouds for method in changing_calls(cloud)]
    assert len(changed) <= sum(map(approved_changes, tmp_path.rglob("state.db"))), changed


@pytest.fixture
def revisions() -> Scenario:
    """A service whose traffic all goes to the newest of three ready revisions."""
    scenario = load_scenario("healthy")
    service = dict(scenario.services[0])
    older = dict(service["revisions"][0])
    oldest = {**older, "name": OLDEST, "created": "-20d", "ready_at": "-19d"}
    newer = {**older, "name": NEWER, "created": "-2h", "ready_at": "-1h50m"}
    broken = {**older, "name": BROKEN, "created": "-1h", "ready_at": "-55m", "ready": False}
    row = {**service, "revisions": [oldest, older, newer, broken], "traffic": {NEWER: 100}}
    return replace(scenario, services=(row,))


@pytest.fixture
def own_queue() -> Scenario:
    """The stock-out, with a queued resource that carries our label and one that does not."""
    scenario = load_scenario("tpu-stockout")
    theirs = dict(scenario.queued_resources[0])
    ours = {**theirs, "name": "ours", "node": "n1", "labels": {"managed-by": "gemma-sre"}}
    more = {**ours, "name": "ours-too", "node": "n2"}
    return replace(scenario, queued_resources=(theirs, ours, more)).with_endpoint(
        behaviour="normal"
    )


OLDEST = "gemma-4-12b-00009-old"
OLDER = "gemma-4-12b-00010-qkz"
NEWER = "gemma-4-12b-00011-2nn"
BROKEN = "gemma-4-12b-00012-bad"
