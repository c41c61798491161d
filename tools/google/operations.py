"""Changes to Google Cloud: asked for exactly once, then followed to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tools.errors import CloudError, CloudUnavailable
from tools.google.clients import Cloud
from tools.google.errors import cloud_error

# How long an operation is followed, in s; what takes longer is reconciled from the live state.
FOLLOW_LIMIT = 300.0
_FIRST_PAUSE = 0.1  # s, doubled up to the next
_LONGEST_PAUSE = 5.0


class OperationFailed(CloudError):
    """Google carried a change out in part or not at all, and said so."""


async def ask_once(
    cloud: Cloud, api: str, method: Callable[..., Awaitable[Any]], request: object
) -> str:
    """Send a change and return the name of its operation; never tried again by itself.

    Raises a CloudError; after CloudUnavailable nobody knows whether the change was taken.
    """
    from google.api_core import exceptions as google
    from google.auth import exceptions as auth

    limit = cloud.config.limits.cloud
    cloud.calls += 1
    try:
        async with asyncio.timeout(limit):
            answer = await method(request, retry=None, timeout=limit)
    except (google.GoogleAPICallError, auth.GoogleAuthError, TimeoutError) as error:
        raise cloud_error(error, api) from error
    return str(answer.operation.name)


async def follow(cloud: Cloud, api: str, client: Any, name: str) -> None:
    """Wait until an operation has ended well.

    Raises OperationFailed with the operation's own words, CloudUnavailable when it had
    not ended within the limit.
    """
    from google.longrunning import operations_pb2

    clock = asyncio.get_running_loop().time
    deadline, pause = clock() + FOLLOW_LIMIT, _FIRST_PAUSE
    while True:
        request = operations_pb2.GetOperationRequest(name=name)
        operation: Any = await cloud.call(api, client.get_operation, request)
        if operation.done:
            if operation.HasField("error"):
                words = " ".join(operation.error.message.split())[:300]
                raise OperationFailed(f"{api}: the operation failed: {words}", api=api)
            return
        if clock() + pause >= deadline:
            raise CloudUnavailable(
                f"{api}: the operation has not ended after {FOLLOW_LIMIT:.0f} s.", api=api
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def unfinished(cloud: Cloud, api: str, client: Any, parent: str) -> list[Any]:
    """Return the operations of a location that have not ended; raises a CloudError."""
    from google.longrunning import operations_pb2

    request = operations_pb2.ListOperationsRequest(name=parent)
    answer: Any = await cloud.call(api, client.list_operations, request)
    return [operation for operation in answer.operations if not operation.done]
