from __future__ import annotations

import json

import pytest

from tools.config import TimeLimits
from tools.domain import Target
from tools.errors import ConfigurationError, PermissionMissing, UsageError
from tools.google.clients import Cloud
from tools.registry import TOOLS, load_tools
from tools.simulator.cloud import SimulatedCloud
from tools.tool import Effect, ToolContext, check_arguments


@pytest.fixture
def context(cloud: SimulatedCloud, limits: TimeLimits) -> ToolContext:
    return ToolContext(cloud.target(), cloud.config(limits), cloud.endpoint_config(limits))


def test_every_tool_reads_and_none_takes_a_place_to_go() -> None:
    assert set(TOOLS) == set(load_tools())
    assert {"read_logs", "list_revisions", "show_changes", "read_series"} <= set(TOOLS)
    for name, tool in TOOLS.items():
        assert tool.name == name
        assert tool.effect is Effect.READ
        assert not {"url", "host", "project", "bucket", "zone", "location", "filter"} & set(
            tool.parameters["properties"]
        )
        assert tool.description
        assert len(tool.description) < 200
    assert max(len(json.dumps(tool.schema())) for tool in TOOLS.values()) < 900


async def test_read_logs(context: ToolContext) -> None:
    result = await TOOLS["read_logs"].run(context, contains="no kernel", minutes=60)
    assert [record.text for record in result.records] == [
        "(EngineCore pid=1) ValueError: no kernel"
    ]
    assert result.summary.startswith("1 entries")
    result = await TOOLS["read_logs"].run(context, revision="gemma-00001-abc", minutes=120)
    assert [row["revision"] for row in result.data] == ["gemma-00001-abc"]
    result = await TOOLS["read_logs"].run(context, limit=1)
    assert "limit of 1" in result.summary


async def test_list_revisions_and_show_changes(context: ToolContext) -> None:
    result = await TOOLS["list_revisions"].run(context)
    assert result.summary == "2 revisions, 1 of them failed"
    assert result.data[0]["reason"] == "HEALTH_CHECK_CONTAINER_ERROR"
    result = await TOOLS["show_changes"].run(context)
    assert (result.data["before"], result.data["after"]) == ("gemma-00001-abc", "gemma-00002-def")
    assert len(result.data["changes"]) == 4
    with pytest.raises(UsageError, match="gemma-00002-def"):
        await TOOLS["show_changes"].run(context, before="absent")
    with pytest.raises(UsageError, match="became ready"):
        await TOOLS["show_changes"].run(context, after="gemma-00001-abc")


async def test_endpoint_and_metrics(context: ToolContext, cloud: SimulatedCloud) -> None:
    result = await TOOLS["get_endpoint"].run(context)
    assert result.summary.startswith(f"ready, {cloud.model}")
    result = await TOOLS["read_metrics"].run(context)
    assert result.data["running"] == 0
    assert "vllm:num_requests_running" in result.observations[0].quote
    cloud.clock.advance(1000)  # no recent number of instances: it may be asleep
    before = len(cloud.calls)
    assert "not_probed" in (await TOOLS["get_endpoint"].run(context)).summary
    assert "not asked" in (await TOOLS["read_metrics"].run(context)).summary
    assert not [call for call in cloud.calls[before:] if call.method.startswith("http:")]


async def test_read_series(context: ToolContext) -> None:
    result = await TOOLS["read_series"].run(context, metric="instances", minutes=10)
    assert "active: now 1, least 1, most 2" in result.summary
    result = await TOOLS["read_series"].run(context, metric="gpu")
    assert result.summary == "no points in this time"


async def test_queued_resources(
    context: ToolContext, tpu_cloud: SimulatedCloud, limits: TimeLimits
) -> None:
    with pytest.raises(ConfigurationError, match="tpu only"):
        await TOOLS["list_queued_resources"].run(context)
    tpu = ToolContext(tpu_cloud.target(), tpu_cloud.config(limits), tpu_cloud.endpoint_config())
    result = await TOOLS["list_queued_resources"].run(tpu)
    assert result.summary == "1 queued resources: gemma-qr WAITING_FOR_RESOURCES"
    with pytest.raises(UsageError, match="no requests series"):
        await TOOLS["read_series"].run(tpu, metric="requests")


async def test_a_shared_cloud_is_left_open(context: ToolContext, cloud: SimulatedCloud) -> None:
    async with Cloud(context.config) as shared:
        context.cloud = shared
        await TOOLS["list_revisions"].run(context)
        await TOOLS["get_endpoint"].run(context)
        await TOOLS["list_revisions"].run(context)
        assert shared.calls == 4


async def test_errors_are_the_trees_own(context: ToolContext, cloud: SimulatedCloud) -> None:
    cloud.inject(
        "logging.*", error={"code": "PERMISSION_DENIED", "permission": "logging.logEntries.list"}
    )
    with pytest.raises(PermissionMissing, match=r"roles/logging\.viewer"):
        await TOOLS["read_logs"].run(context)
    context.target = Target("local", url=cloud.base_url)
    with pytest.raises(ConfigurationError, match="local"):
        await TOOLS["read_logs"].run(context)
    with pytest.raises(UsageError, match="between 1 and 500"):
        check_arguments(TOOLS["read_logs"], {"limit": 5000})
