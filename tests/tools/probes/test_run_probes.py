from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tools.config import CloudConfig, EndpointConfig, TimeLimits
from tools.domain import Origin, Probe, Target
from tools.probes import run_probes
from tools.probes.logs import Window
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario


def hour(cloud: SimulatedCloud, hours: float = 1) -> Window:
    now = cloud.clock.now()
    return now - timedelta(hours=hours), now


async def look(
    cloud: SimulatedCloud, limits: TimeLimits, **changes: Any
) -> tuple[Target, Mapping[str, Probe]]:
    arguments: dict[str, Any] = {"window": hour(cloud), **changes}
    target, probes = await run_probes(
        cloud.target(), cloud.config(limits), cloud.endpoint_config(limits), **arguments
    )
    return target, {probe.name: probe for probe in probes}


def facts(probes: Mapping[str, Probe]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for probe in probes.values():
        for observation in probe.observations:
            found |= observation.facts
    return found


def gaps(probes: Mapping[str, Probe]) -> str:
    return "\n".join(str(gap) for probe in probes.values() for gap in probe.gaps)


async def test_a_failing_revision_is_seen_whole(cloud: SimulatedCloud, limits: TimeLimits) -> None:
    target, probes = await look(cloud, limits)
    assert list(probes) == ["service", "revisions", "logs", "instances", "endpoint"]
    found = facts(probes)
    assert {
        "run.exists": True,
        "run.ready": False,
        "run.serving_revision": "gemma-00001-abc",
        "run.revision": "gemma-00002-def",
        "run.revision_ready": False,
        "run.reason": "HEALTH_CHECK_CONTAINER_ERROR",
        "run.probe_budget_s": 60 + 10 * 180,
        "run.accelerator": "nvidia-l4",
        "run.instances": 2,
        "run.min_instances": 0,
        "endpoint.state": "ready",
    }.items() <= found.items()
    (revision,) = probes["revisions"].observations
    assert revision.origin is Origin.CONTROL_PLANE
    assert "startup probe checks" in revision.quote
    assert [change.what for change in probes["revisions"].changes][:2] == [
        "--max-model-len",
        "--kv-cache-dtype",
    ]
    records = probes["logs"].records
    assert [record.origin for record in records] == [
        Origin.PROCESS,
        Origin.PROCESS,
        Origin.PLATFORM,
        Origin.CONTROL_PLANE,
    ]
    assert gaps(probes) == ""
    assert (target.location, target.project) == ("us-east4", "example-project")


async def test_five_cloud_calls_at_most_and_all_counted(
    cloud: SimulatedCloud, limits: TimeLimits
) -> None:
    _, probes = await look(cloud, limits)
    assert {name: probe.calls for name, probe in probes.items()} == {
        "service": 1,
        "revisions": 1,
        "logs": 1,
        "instances": 1,
        "endpoint": 0,
    }


@pytest.mark.parametrize(
    ("on", "permission", "role", "blind"),
    [
        ("logging.*", "logging.logEntries.list", "roles/logging.viewer", "logs"),
        ("run.GetService", "run.services.get", "roles/run.viewer", "service"),
        ("run.ListRevisions", "run.revisions.list", "roles/run.viewer", "revisions"),
        ("monitoring.*", "monitoring.timeSeries.list", "roles/monitoring.viewer", "instances"),
    ],
)
async def test_a_missing_permission_is_one_gap_and_stops_nobody(
    cloud: SimulatedCloud,
    limits: TimeLimits,
    on: str,
    permission: str,
    role: str,
    blind: str,
) -> None:
    cloud.inject(on, error={"code": "PERMISSION_DENIED", "permission": permission})
    _, probes = await look(cloud, limits)
    assert permission in gaps(probes)
    assert f"grant {role}" in gaps(probes)
    assert probes[blind].observations == ()
    assert probes[blind].records == ()
    others = [probe for name, probe in probes.items() if name not in {blind, "endpoint"}]
    assert all(probe.observations or probe.records for probe in others)


async def test_nothing_at_all_can_be_seen(cloud: SimulatedCloud, limits: TimeLimits) -> None:
    cloud.inject("*", error={"code": "PERMISSION_DENIED"}, behaviour="stall")
    _, probes = await look(cloud, limits)
    assert all(probe.gaps for name, probe in probes.items() if name != "endpoint")
    assert "endpoint.model" not in facts(probes)


async def test_without_credentials_everything_is_a_gap(
    monkeypatch: pytest.MonkeyPatch, limits: TimeLimits, cloud: SimulatedCloud
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    target = Target("cloud-run", service="x", project="p", location="us-east4")
    config = CloudConfig(project="p", location="us-east4", limits=limits)
    _, probes = await run_probes(target, config, EndpointConfig(), window=hour(cloud))
    assert {probe.name for probe in probes if probe.gaps} >= {"service", "revisions", "logs"}
    assert any("gcloud auth application-default login" in str(g) for p in probes for g in p.gaps)


@pytest.mark.parametrize("points", [[["-2m", 0]], []])
async def test_a_sleeping_service_is_not_woken(
    scenario: Scenario, limits: TimeLimits, points: list[list[object]]
) -> None:
    series = {**scenario.series[0], "points": points}
    asleep = replace(scenario, series=(series,) if points else (), endpoint={"behaviour": "asleep"})
    async with SimulatedCloud(asleep) as cloud:
        _, probes = await look(cloud, limits)
        assert facts(probes)["endpoint.state"] == "not_probed"
        assert not cloud.woken
        assert facts(probes).get("run.instances") == (0 if points else None)
        assert [call for call in cloud.calls if call.method.startswith("http:")] == []
        _, probes = await look(cloud, limits, wake=True)
        assert facts(probes)["endpoint.state"] == "starting"
        assert cloud.woken


async def test_a_minimum_of_instances_means_that_nothing_is_woken(
    scenario: Scenario, limits: TimeLimits
) -> None:
    row = scenario.services[0]
    kept = [{**revision, "min_instances": 1} for revision in row["revisions"]]
    changed = replace(scenario, services=({**row, "revisions": kept},), series=())
    async with SimulatedCloud(changed) as cloud:
        _, probes = await look(cloud, limits)
    assert facts(probes)["endpoint.state"] == "ready"


async def test_a_service_that_does_not_exist(cloud: SimulatedCloud, limits: TimeLimits) -> None:
    target = replace(cloud.target(), service="absent", url="")
    _, probes = await run_probes(
        target, cloud.config(limits), EndpointConfig(limits=limits), window=hour(cloud)
    )
    found = facts({probe.name: probe for probe in probes})
    assert found["run.exists"] is False
    assert "endpoint.state" not in found


async def test_the_url_is_found_and_the_finder_named(
    cloud: SimulatedCloud, limits: TimeLimits
) -> None:
    target = Target("cloud-run", service="gemma", project="example-project")
    config = replace(cloud.config(limits), location="")
    found, probes = await run_probes(
        target, config, EndpointConfig(limits=limits), window=hour(cloud)
    )
    assert found.url == cloud.base_url
    assert found.found_by == "Cloud Run service"
    assert found.location == "us-east4"
    assert facts({probe.name: probe for probe in probes})["endpoint.state"] == "ready"


async def test_a_full_page_is_followed_by_the_oldest_of_the_newest_revision(
    scenario: Scenario, limits: TimeLimits
) -> None:
    cause = {
        "at": "-19m", "stream": "stderr", "revision": "gemma-00002-def", "text": "the cause",
    }  # fmt: skip
    noise = {
        "at": "-15m", "times": 1500, "every": "100ms", "stream": "stdout",
        "revision": "gemma-00001-abc", "text": "noise {{n}}",
    }  # fmt: skip
    async with SimulatedCloud(replace(scenario, logs=(cause, noise))) as cloud:
        _, probes = await look(cloud, limits)
        records = probes["logs"].records
        assert len(records) == 1001
        assert records[0].text == "the cause"
        assert probes["logs"].calls == 2
        cloud.inject("run.ListRevisions", error={"code": "UNAVAILABLE"})
        _, probes = await look(cloud, replace(limits, cloud=0.3))
        assert len(probes["logs"].records) == 1500, "the revision of the newest entries is taken"


async def test_a_window_after_the_failure_is_said(scenario: Scenario, limits: TimeLimits) -> None:
    async with SimulatedCloud(scenario) as cloud:
        now = cloud.clock.now()
        _, probes = await look(cloud, limits, window=(now - timedelta(minutes=5), now))
    assert "before the window that was read" in gaps(probes)


async def test_events_come_in_order(cloud: SimulatedCloud, limits: TimeLimits) -> None:
    cloud.inject("logging.*", error={"code": "INTERNAL"})
    events: list[tuple[str, str, bool]] = []
    await look(
        cloud, limits, on_event=lambda name, state, probe: events.append((name, state, bool(probe)))
    )
    assert events[:5] == [
        (name, "started", False)
        for name in ("service", "revisions", "logs", "instances", "endpoint")
    ]
    assert ("logs", "failed", True) in events
    assert ("endpoint", "ok", True) in events
    assert len(events) == 10


async def test_everything_is_asked_at_once(cloud: SimulatedCloud) -> None:
    for api in ("run.*", "logging.*", "monitoring.*"):
        cloud.inject(api, latency=0.2)
    await look(cloud, TimeLimits(), only=frozenset())  # imports are paid here
    limits = TimeLimits()
    _, probes = await look(cloud, limits)
    assert max(probe.seconds for probe in probes.values()) < 0.2 * 3


async def test_a_private_endpoint_without_a_token_is_a_gap(
    cloud: SimulatedCloud, limits: TimeLimits
) -> None:
    cloud.behave("forbidden_html")
    _, probes = await look(cloud, limits)
    assert facts(probes)["endpoint.state"] == "forbidden"
    assert "roles/run.invoker" in gaps(probes)


async def test_tpu(tpu_cloud: SimulatedCloud, limits: TimeLimits) -> None:
    _, probes = await look(tpu_cloud, limits)
    assert list(probes) == ["queued-resource", "node", "logs", "endpoint"]
    found = facts(probes)
    assert found["tpu.state"] == "WAITING_FOR_RESOURCES"
    assert found["tpu.tier"] == "spot"
    assert found["tpu.waiting_s"] == 7200
    assert found["endpoint.state"] == "refused"
    tpu_cloud.clock.advance(900)
    target = replace(tpu_cloud.target(), url="")
    _, later = await run_probes(
        target,
        tpu_cloud.config(limits),
        EndpointConfig(limits=limits),
        window=hour(tpu_cloud),
    )
    found = facts({probe.name: probe for probe in later})
    assert found["tpu.state"] == "FAILED"
    assert "no more capacity" in found["tpu.state_message"]
    assert "tpu.waiting_s" not in found
    assert "no node with an address" in str(later[-1].gaps[0])


async def test_local_asks_no_cloud(cloud: SimulatedCloud, limits: TimeLimits) -> None:
    target = Target("local", url=cloud.base_url)
    _, probes = await run_probes(
        target, CloudConfig(), EndpointConfig(limits=limits), window=hour(cloud)
    )
    assert [probe.name for probe in probes] == ["endpoint"]
    assert facts({"endpoint": probes[0]})["endpoint.state"] == "ready"
    _, probes = await run_probes(
        Target("local"), CloudConfig(), EndpointConfig(), window=hour(cloud)
    )
    assert "VLLM_BASE_URL" in str(probes[0].gaps[0])


@pytest.mark.parametrize("kind", ["vertex", "gce", "gke"])
async def test_other_platforms_say_what_is_not_asked(
    cloud: SimulatedCloud, limits: TimeLimits, kind: Any
) -> None:
    target = replace(cloud.target(), kind=kind)
    _, probes = await run_probes(
        target, cloud.config(limits), cloud.endpoint_config(limits), window=hour(cloud)
    )
    assert [probe.name for probe in probes] == ["control-plane", "logs", "endpoint"]
    assert kind in str(probes[0].gaps[0])


async def test_a_defect_in_one_probe_is_reported_and_stops_nobody(
    cloud: SimulatedCloud, limits: TimeLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("tools.probes.run.probe_instances", broken)
    _, probes = await look(cloud, limits)
    assert "KeyError" in str(probes["instances"].gaps[0])
    assert probes["service"].observations
    assert facts(probes)["endpoint.state"] == "not_probed"
