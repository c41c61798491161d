"""What every read tool needs: the cloud of the context, and failures as text for the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tools.errors import ConfigurationError
from tools.google.clients import Cloud
from tools.tool import ToolContext


@asynccontextmanager
async def cloud_of(context: ToolContext) -> AsyncIterator[Cloud]:
    """Yield the context's cloud, or one of its own for this call.

    Raises ConfigurationError for a target that has no cloud.
    """
    if context.cloud is not None:
        yield context.cloud
        return
    if context.target.kind == "local":
        raise ConfigurationError(
            "The target is a local endpoint: there is no Google Cloud to ask.",
            fix="Use get_endpoint or read_metrics.",
        )
    async with Cloud(context.config) as cloud:
        yield cloud


def require_kind(context: ToolContext, kind: str, what: str) -> None:
    """Raise ConfigurationError when the target is of another kind than ``what`` needs."""
    if context.target.kind != kind:
        raise ConfigurationError(
            f"{what} exist for {kind} only, and the target is {context.target.kind}."
        )
