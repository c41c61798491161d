"""The one door to Google Cloud: credentials, channels, time limits and retries."""

from __future__ import annotations

import asyncio
import contextvars
import ipaddress
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from tools.config import CloudConfig
from tools.errors import CloudError, CloudUnavailable, ConfigurationError
from tools.google.errors import LOGIN, cloud_error, retry_delay
from tools.google.pace import TokenBucket

if TYPE_CHECKING:
    import grpc
    from google.api_core.operations_v1 import OperationsAsyncClient
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient
    from google.cloud.monitoring_v3 import MetricServiceAsyncClient
    from google.cloud.run_v2 import RevisionsAsyncClient, ServicesAsyncClient
    from google.cloud.tpu_v2alpha1 import TpuAsyncClient

T = TypeVar("T")

# What these libraries log about a failed call reaches the person as an error of ours; without a
# handler Python would print it, traceback and all, over the screen.
for _name in ("grpc", "google"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

# entries.list per project and minute; ErrorInfo of real 429s names 60 (2023) and 120 (2025-26),
# so the lower one holds everywhere.
LOG_READS_PER_MINUTE = 60
_UNAVAILABLE_TRIES = 4
_FIRST_PAUSE = 0.1  # s, doubled for each try


class _GapicClient(Protocol):
    @classmethod
    def get_transport_class(cls, label: str) -> Any: ...


class CallCount:
    """How many cloud calls were made inside a ``counting()`` block, tasks included."""

    def __init__(self) -> None:
        self.calls = 0


_counts: contextvars.ContextVar[tuple[CallCount, ...]] = contextvars.ContextVar(
    "cloud_call_counts", default=()
)


@contextmanager
def counting() -> Iterator[CallCount]:
    """Count the cloud calls of this block and of the tasks started in it."""
    count = CallCount()
    token = _counts.set((*_counts.get(), count))
    try:
        yield count
    finally:
        _counts.reset(token)


class Cloud:
    """Google Cloud's clients, made when first used; use it as an async context manager.

    A simulated cloud is reached over one insecure channel with no credentials, and only if its
    address is loopback. Raises ConfigurationError for any other address, CloudUnavailable from
    each client property when there are no credentials.
    """

    def __init__(self, config: CloudConfig) -> None:
        if config.loopback and not is_loopback(config.loopback):
            raise ConfigurationError(
                f"{config.loopback} is not a loopback address.",
                fix="A simulated cloud is reached without TLS or credentials, so only on loopback.",
            )
        self.config = config
        self.calls = 0
        self.log_reads = TokenBucket(LOG_READS_PER_MINUTE)
        self._clients: dict[str, Any] = {}
        self._channel: grpc.aio.Channel | None = None
        self._credentials: Any = None
        self._default_project = ""
        self._problem: CloudError | None = None

    async def __aenter__(self) -> Cloud:
        """Find the credentials; a failure is kept and raised where a client is needed."""
        if not self.config.loopback:
            try:
                async with asyncio.timeout(self.config.limits.cloud):
                    self._credentials, self._default_project = await _default_credentials()
            except TimeoutError:
                self._problem = CloudUnavailable(
                    "No Google credentials were found in time.", fix=f"To sign in, {LOGIN}"
                )
            except CloudError as error:
                self._problem = error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every channel."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            transport = getattr(client, "transport", None)
            if transport is not None and self._channel is None:
                await transport.close()
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    @property
    def project(self) -> str:
        """Return the project's id; raises ConfigurationError when nothing names one."""
        found = self.config.project or self._default_project
        if not found:
            raise ConfigurationError(
                "No Google Cloud project is named.", fix="Set GOOGLE_CLOUD_PROJECT or --project."
            )
        return found

    @property
    def account(self) -> str:
        """Return the service account that calls are made as, empty for a person's credentials."""
        return str(getattr(self._credentials, "service_account_email", "") or "")

    def require_credentials(self) -> None:
        """Raise CloudUnavailable when no credentials were found."""
        if self._problem is not None:
            raise self._problem

    @property
    def logging(self) -> LoggingServiceV2AsyncClient:
        """Return the client of Cloud Logging."""
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient

        return self._made("logging", LoggingServiceV2AsyncClient)

    @property
    def monitoring(self) -> MetricServiceAsyncClient:
        """Return the client of Cloud Monitoring's metrics."""
        from google.cloud.monitoring_v3 import MetricServiceAsyncClient

        return self._made("monitoring", MetricServiceAsyncClient)

    @property
    def metric(self) -> MetricServiceAsyncClient:
        """Return the same client as ``monitoring``."""
        return self.monitoring

    @property
    def services(self) -> ServicesAsyncClient:
        """Return the client of Cloud Run's services."""
        from google.cloud.run_v2 import ServicesAsyncClient

        return self._made("services", ServicesAsyncClient)

    @property
    def revisions(self) -> RevisionsAsyncClient:
        """Return the client of Cloud Run's revisions."""
        from google.cloud.run_v2 import RevisionsAsyncClient

        return self._made("revisions", RevisionsAsyncClient)

    @property
    def tpu(self) -> TpuAsyncClient:
        """Return the client of Cloud TPU v2alpha1, the version that knows spot and best effort."""
        from google.cloud.tpu_v2alpha1 import TpuAsyncClient

        return self._made("tpu", TpuAsyncClient)

    @property
    def operations(self) -> OperationsAsyncClient:
        """Return the client of Cloud TPU's long-running operations."""
        return cast("OperationsAsyncClient", self.tpu.transport.operations_client)

    @property
    def run_operations(self) -> OperationsAsyncClient:
        """Return the client of Cloud Run's long-running operations."""
        return cast("OperationsAsyncClient", self.services.transport.operations_client)

    async def call(self, api: str, method: Callable[..., Awaitable[T]], request: object) -> T:
        """Make one call, retried within the time limit; raises a CloudError.

        UNAVAILABLE is tried again with growing pauses; a 429 only when the server's RetryInfo
        names a wait that fits into what is left of the limit.
        """
        from google.api_core import exceptions as google
        from google.auth import exceptions as auth

        clock = asyncio.get_running_loop().time
        deadline = clock() + self.config.limits.cloud
        pause, tries = _FIRST_PAUSE, 1
        while True:
            left = deadline - clock()
            self.calls += 1
            for count in _counts.get():
                count.calls += 1
            try:
                async with asyncio.timeout(left):
                    answer = await method(request, retry=None, timeout=left)
                # grpc gives None for bytes that can't be parsed; a pager holds its first page.
                if getattr(answer, "_response", answer) is None:
                    raise CloudUnavailable(f"{api} sent an answer that can't be read.", api=api)
                return answer
            except google.ServiceUnavailable as error:
                failure, wait = cloud_error(error, api), pause
                if "credentials" in failure.message or tries >= _UNAVAILABLE_TRIES:
                    raise failure from error
                cause: Exception = error
            except google.TooManyRequests as error:
                failure, wait, cause = cloud_error(error, api), retry_delay(error), error
                if not wait:
                    raise failure from error
            except (google.GoogleAPICallError, auth.GoogleAuthError, TimeoutError) as error:
                raise cloud_error(error, api) from error
            if clock() + wait >= deadline:
                raise failure from cause
            await asyncio.sleep(wait)
            pause, tries = pause * 2, tries + 1

    def _made(self, name: str, kind: type[T]) -> T:
        self.require_credentials()
        if name not in self._clients:
            self._clients[name] = self._make(cast("type[_GapicClient]", kind))
        return cast("T", self._clients[name])

    def _make(self, kind: type[_GapicClient]) -> Any:
        construct = cast("Callable[..., Any]", kind)
        if not self.config.loopback:
            return construct(credentials=self._credentials)
        if self._channel is None:
            import grpc

            self._channel = grpc.aio.insecure_channel(self.config.loopback)
        transport = kind.get_transport_class("grpc_asyncio")
        return construct(transport=transport(channel=self._channel))


def is_loopback(address: str) -> bool:
    """Tell whether ``host:port`` (or a bare host) names this machine's loopback interface."""
    host = address
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _default_credentials() -> tuple[Any, str]:
    # google.auth.default reads files and may ask a metadata server for seconds: in a daemon
    # thread, so that neither the event loop nor the end of the process waits for it.
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[Any, str]] = loop.create_future()

    def settle(result: tuple[Any, str] | None, error: CloudError | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        elif result is not None:
            found.set_result(result)

    def look() -> None:
        import google.auth
        from google.auth import exceptions as auth

        result: tuple[Any, str] | None = None
        failure: CloudError | None = None
        try:
            credentials, project = google.auth.default(
                scopes=["https://www.googleapis.com/auth/cloud-platform"]
            )
            result = (credentials, project or "")
        except (auth.GoogleAuthError, OSError, ValueError) as error:
            failure = CloudUnavailable(
                f"No Google credentials: {str(error).splitlines()[0]}", fix=f"To sign in, {LOGIN}"
            )
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=look, name="google-credentials", daemon=True).start()
    return await found
