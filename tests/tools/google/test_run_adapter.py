from __future__ import annotations

import pytest
from google.cloud import run_v2
from hypothesis import given
from hypothesis import strategies as st

from tools.domain import Revision
from tools.errors import NotFound
from tools.google.changes import changes_between, options
from tools.google.clients import Cloud
from tools.google.monitoring import INSTANCE_COUNT, instance_count, read_series
from tools.google.redaction import shown_args, shown_env
from tools.google.run import (
    get_service,
    gpu_regions,
    list_revisions,
    list_services,
    revision_from,
    service_from,
)
from tools.simulator.cloud import SimulatedCloud


async def test_service(cloud: Cloud) -> None:
    service = await get_service(cloud, "gemma", "us-east4")
    assert (service.name, service.project, service.location) == (
        "gemma",
        "example-project",
        "us-east4",
    )
    assert service.latest_created == "gemma-00002-def"
    assert service.latest_ready == "gemma-00001-abc"
    assert service.traffic == {"gemma-00001-abc": 100}
    assert service.conditions[0].type == "Ready"
    assert service.conditions[0].state == "CONDITION_FAILED"
    assert not service.url.endswith("/")


async def test_no_location_asks_every_gpu_region_at_once(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    assert [one.name for one in await list_services(cloud)] == ["gemma"]
    assert cloud.calls == len(gpu_regions())
    asked = [call.request for call in simulated.calls_to("run.ListServices")]
    assert not any("locations/-" in request for request in asked)
    with pytest.raises(NotFound):
        await get_service(cloud, "gemma", "europe-west4")


async def test_revisions_newest_first(cloud: Cloud) -> None:
    service = await get_service(cloud, "gemma", "us-east4")
    newest, older = await list_revisions(cloud, service)
    assert (newest.name, newest.ready, older.ready) == ("gemma-00002-def", False, True)
    assert older.env == {"HF_TOKEN": "secret:hf:3", "MODE": "fast"}
    assert older.args == ("--model=google/gemma-4-12b", "--max-model-len", "4096")
    assert older.startup_probe == {
        "type": "http",
        "path": "/health",
        "port": 8000,
        "initial_delay_s": 60,
        "timeout_s": 1,
        "period_s": 10,
        "failure_threshold": 180,
    }
    assert older.resources["nvidia.com/gpu"] == "1"
    assert older.accelerator == "nvidia-l4"
    assert [one.name for one in await list_revisions(cloud, service, 1)] == ["gemma-00002-def"]


async def test_changes_since_the_last_ready_revision(cloud: Cloud) -> None:
    service = await get_service(cloud, "gemma", "us-east4")
    bad, good = await list_revisions(cloud, service)
    found = {change.what: (change.before, change.after) for change in changes_between(good, bad)}
    assert found == {
        "--max-model-len": ("4096", "8192"),
        "--kv-cache-dtype": ("(not set)", "nvfp4"),
        "image": ("vllm/vllm-openai:v0.22.0", "vllm/vllm-openai:v0.23.0"),
        "secret HF_TOKEN": ("secret:hf:3", "secret:hf:4"),
    }
    assert all(change.time == bad.created for change in changes_between(good, bad))
    assert changes_between(good, good) == ()


def test_a_probe_is_compared_field_by_field() -> None:
    good = Revision("a", startup_probe={"period_s": 10, "path": "/health"})
    bad = Revision("b", startup_probe={"period_s": 5, "path": "/health"})
    assert [(one.what, one.before, one.after) for one in changes_between(good, bad)] == [
        ("start-up probe period (s)", "10", "5")
    ]


def test_options_of_a_shell_script() -> None:
    found = options(["bash", "-c", "exec vllm serve m --max_model_len 8 --enforce-eager --x=a=b"])
    assert found == {
        "--max-model-len": "8",
        "--enforce-eager": "(set)",
        "--x": "a=b",
        "command": "bash -c exec vllm serve m",
    }
    assert options(["--lora-modules", "a=1", "b=2"])["--lora-modules"] == "a=1 b=2"
    assert "command" in options(["it's broken \" quoting"])


@given(st.permutations(["--a=1", "--b", "--c=x y", "--d=2"]))
def test_order_of_options_is_no_change(args: list[str]) -> None:
    good = Revision("a", args=("--a=1", "--b", "--c=x y", "--d=2"))
    assert changes_between(good, Revision("b", args=tuple(args))) == ()


@given(st.lists(st.text(max_size=12), max_size=8), st.lists(st.text(max_size=12), max_size=8))
def test_changes_never_fail_and_vanish_only_for_equals(left: list[str], right: list[str]) -> None:
    good, bad = Revision("a", args=tuple(left)), Revision("b", args=tuple(right))
    assert bool(changes_between(good, bad)) == (options(left) != options(right))


def test_plain_secrets_become_marks_that_still_compare() -> None:
    env = {"HF_TOKEN": "hunter2", "MODE": "fast", "VLLM_API_KEY": "k", "TOKENIZER": "x"}
    shown = shown_env(env)
    assert shown["MODE"] == "fast"
    assert shown["TOKENIZER"] == "x"
    assert "hunter2" not in shown["HF_TOKEN"]
    assert shown["VLLM_API_KEY"].startswith("<redacted ")
    assert shown_env({"HF_TOKEN": "hunter2"})["HF_TOKEN"] == shown["HF_TOKEN"]
    assert shown_env({"HF_TOKEN": "hunter3"})["HF_TOKEN"] != shown["HF_TOKEN"]
    args = shown_args(["--api-key", "hunter2", "--port=1", "--hf-token=hunter2", "--tokenizer=t"])
    assert "hunter2" not in " ".join(args)
    assert args[2] == "--port=1"
    assert args[4] == "--tokenizer=t"


def test_an_empty_revision_and_a_tagless_traffic_target() -> None:
    bare = revision_from(run_v2.Revision(name="projects/p/locations/l/services/s/revisions/r"))
    assert (bare.name, bare.ready, bare.created, bare.args) == ("r", None, None, ())
    service = service_from(
        run_v2.Service(
            name="projects/p/locations/l/services/s",
            latest_ready_revision="projects/p/locations/l/services/s/revisions/r1",
            traffic_statuses=[run_v2.TrafficTargetStatus(percent=100)],
        )
    )
    assert service.traffic == {"r1": 100}
    assert service.conditions == ()


async def test_instances_are_the_newest_points_summed(
    cloud: Cloud, simulated: SimulatedCloud
) -> None:
    assert await instance_count(cloud, "gemma", "us-east4") == 2
    assert await instance_count(cloud, "absent") is None
    simulated.clock.advance(400)
    assert await instance_count(cloud, "gemma") is None, "old points say nothing about now"


async def test_series_newest_point_first(cloud: Cloud) -> None:
    found = await read_series(
        cloud, INSTANCE_COUNT, {"resource.service_name": "gemma", "metric.state": "active"}, 10
    )
    assert [point.value for point in found[0].points] == [1, 1, 2]
    assert found[0].labels["metric.state"] == "active"
    assert found[0].points[0].time > found[0].points[-1].time
