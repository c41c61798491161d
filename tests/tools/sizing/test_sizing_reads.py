"""The READ tools of the numbers."""

import pytest

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Target
from tools.errors import UsageError
from tools.reads import sizing
from tools.tool import Effect, ToolContext, check_arguments


@pytest.fixture
def context():
    return ToolContext(Target("cloud-run"), CloudConfig(), EndpointConfig())


async def test_fit(context):
    arguments = {"model": "31B", "accelerator": "1 x L4", "precision": "w4a16"}
    found = await sizing.fit_model.run(context, **check_arguments(sizing.fit_model, arguments))
    assert "runs out of memory while it loads" in found.summary
    assert "--cpu-offload-gb" in found.summary
    assert found.data["outcome"] == "oom_at_load"
    assert found.observations[0].quote == found.summary


async def test_cost(context):
    found = await sizing.estimate_cost.run(context, "12B", "L4", "w4a16", duty=0.2)
    assert "USD an hour" in found.summary
    assert "ceiling" in found.summary


async def test_recommend(context):
    found = await sizing.recommend_setup.run(context, users=2, budget=1000.0)
    assert found.summary.startswith("1. ")
    assert len(found.data["rejections"]) <= 10
    none = await sizing.recommend_setup.run(context, users=100_000, context_tokens=262_144)
    assert none.summary.startswith("Nothing holds")


async def test_lint(context):
    command = "vllm serve google/gemma-4-12B-it --kv-cache-dtype nvfp4"
    found = await sizing.lint_flags.run(context, command, accelerator="L4")
    assert "Blackwell" in found.summary
    with pytest.raises(UsageError):
        await sizing.lint_flags.run(context, "")
    with pytest.raises(UsageError, match="quotes"):
        await sizing.fit_model.run(context, "12B", "L4", flags="'")


def test_they_only_read_and_are_short():
    tools = (sizing.fit_model, sizing.estimate_cost, sizing.recommend_setup, sizing.lint_flags)
    assert all(tool.effect is Effect.READ for tool in tools)
    assert all(len(tool.description) < 110 for tool in tools)
