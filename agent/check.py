"""``gemma-sre check``: is everything in place that a diagnosis needs? Reads only."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agent.gather import discover_target
from agent.settings import Settings
from tools.errors import GemmaSreError
from tools.google.permissions_check import Check, check_access, check_names


async def run_checks(settings: Settings, *, live: bool = False) -> AsyncIterator[Check]:
    """Test settings, credentials, permissions and endpoint, one by one.

    ``live`` also tests the names of metrics, logs and resource types that are not confirmed yet
    against the real project.
    """
    from tools.google.clients import Cloud

    yield Check("state", True, str(settings.state), "")
    if not (settings.project or settings.base_url):
        yield Check(
            "project",
            False,
            "neither a project nor an endpoint is configured; set GOOGLE_CLOUD_PROJECT or"
            " VLLM_BASE_URL",
            "",
        )
        return
    async with Cloud(settings.cloud_config()) as cloud:
        try:
            target = await discover_target({}, settings)
        except GemmaSreError as error:
            yield Check("target", False, str(error), "")
            return
        yield Check("target", True, f"{target.kind} {target.service} ({target.found_by})", "")
        async for check in check_access(cloud, target):
            yield check
        if live:
            async for name in check_names(cloud):
                yield Check(name.name, name.state != "unknown", name.state, "")
