"""The simulated cloud: one gRPC server for Google's APIs and one HTTP server for the endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

from tools.config import CloudConfig, EndpointConfig, TimeLimits
from tools.domain import Target
from tools.simulator.calls import Call, ScriptMismatch
from tools.simulator.clock import SimulatedClock
from tools.simulator.endpoint_server import SimulatedEndpointServer
from tools.simulator.faults import Fault, FaultBook
from tools.simulator.grpc_server import SimulatedGrpcServer
from tools.simulator.log_entries import build_entries
from tools.simulator.logging_service import SimulatedLogging
from tools.simulator.monitoring_service import SimulatedMonitoring
from tools.simulator.operations import SimulatedOperations
from tools.simulator.run_service import SimulatedRun
from tools.simulator.scenario import Row, Scenario
from tools.simulator.tpu_service import SimulatedTpu

__all__ = ["Call", "ScriptMismatch", "SimulatedCloud", "run_in_thread"]


class SimulatedCloud:
    """Serve a scenario on loopback while the ``async with`` block runs.

    Both servers live in the event loop that enters the block, so a client that blocks that loop
    would wait for itself: use the async clients there, or ``run_in_thread``. ``grpc_address`` is
    host:port, ``base_url`` has neither a trailing slash nor ``/v1``. ``calls`` holds every request
    of both protocols in the order of their answers, cut; with ``keep_bodies``, ``bodies`` holds
    what was posted to the endpoint, whole.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int = 0,
        running: bool = False,
        keep_bodies: bool = False,
    ) -> None:
        self.scenario = scenario
        self.clock = SimulatedClock(scenario.now, running=running)
        self.calls: list[Call] = []
        self.grpc_address = ""
        self.base_url = ""
        self._faults = FaultBook([Fault.parse(row) for row in scenario.faults])
        operations = SimulatedOperations(self.clock, seed)
        services = (
            SimulatedLogging(scenario, self.clock, build_entries(scenario, seed)),
            SimulatedMonitoring(scenario, self.clock),
            SimulatedRun(scenario, self.clock, operations, lambda: self.base_url),
            SimulatedTpu(scenario, self.clock, operations),
            operations,
        )
        handlers = {
            name: handler for service in services for name, handler in service.handlers().items()
        }
        self._grpc = SimulatedGrpcServer(
            handlers,
            project=scenario.project,
            clock=self.clock,
            faults=self._faults,
            calls=self.calls,
        )
        self._endpoint = SimulatedEndpointServer(
            scenario, self.clock, self._faults, self.calls, seed
        )
        self.bodies: list[bytes] = []
        if keep_bodies:
            self._endpoint.bodies = self.bodies

    async def __aenter__(self) -> SimulatedCloud:
        try:
            port = await self._grpc.start()
            self.grpc_address = f"127.0.0.1:{port}"
            await self._endpoint.start()
        except BaseException:
            # Cancelled half-way: nobody will call __aexit__, and gRPC must not outlive the loop.
            await self._grpc.stop()
            raise
        self.base_url = f"http://127.0.0.1:{self._endpoint.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._endpoint.stop()
        await self._grpc.stop()

    @property
    def woken(self) -> bool:
        """Say whether a request woke a service that was scaled to zero."""
        return self._endpoint.woken

    @property
    def model(self) -> str:
        """Return the name of the served model."""
        return self._endpoint.vllm.model

    def config(self, limits: TimeLimits | None = None) -> CloudConfig:
        """Return the settings that point the Google adapters here, on the simulated clock."""
        return CloudConfig(
            project=self.scenario.project,
            location=self.scenario.location,
            zone=self.scenario.zone,
            loopback=self.grpc_address,
            limits=limits or TimeLimits(),
            now=self.clock.now,
        )

    def endpoint_config(self, limits: TimeLimits | None = None) -> EndpointConfig:
        """Return the settings that point the endpoint's clients here."""
        return EndpointConfig(
            url=self.base_url,
            model=self.model,
            found_by="simulated cloud",
            limits=limits or TimeLimits(),
        )

    def target(self) -> Target:
        """Return the scenario's service or node as the thing to diagnose."""
        return Target(
            kind=self.scenario.kind,
            service=self.scenario.service,
            project=self.scenario.project,
            location=self.scenario.location,
            zone=self.scenario.zone,
            url=self.base_url,
            found_by="simulated cloud",
        )

    def inject(
        self,
        on: str,
        *,
        error: Mapping[str, Any] | None = None,
        times: int | None = None,
        latency: float = 0.0,
        stall: bool = False,
        malformed: bool = False,
        behaviour: str = "",
    ) -> None:
        """Add a fault, as a scenario's ``faults`` would; ``times`` None means always."""
        self._faults.add(Fault(on, error or {}, times, latency, stall, malformed, behaviour))

    def clear_faults(self) -> None:
        """Forget every fault, the scenario's own included."""
        self._faults.clear()

    def behave(self, name: str) -> None:
        """Change how the endpoint behaves from now on; ``normal`` heals it. Raises UsageError."""
        self._endpoint.behave(name)

    def script(self, chat: Sequence[Row] | Literal["freeform"] | None) -> None:
        """Give the model another script, from its first step on."""
        self._endpoint.vllm.script.reset(chat)

    def calls_to(self, method: str) -> list[Call]:
        """Return the calls of one method, such as ``run.GetService`` or ``http:/health``."""
        return [call for call in self.calls if call.method == method]

    def assert_script_used(self) -> None:
        """Raise ScriptMismatch if the model was asked otherwise than its script says."""
        self._endpoint.vllm.script.assert_used()


@contextmanager
def run_in_thread(
    scenario: Scenario, *, seed: int = 0, running: bool = False
) -> Iterator[SimulatedCloud]:
    """Serve a scenario from a thread with its own event loop, for blocking clients and processes.

    ``inject``, ``clear_faults``, ``script`` and the clock may be used from outside; ``behave`` may
    not, as it opens and closes sockets of the loop.
    """
    ready = threading.Event()
    failure: list[BaseException] = []
    clouds: list[tuple[SimulatedCloud, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with SimulatedCloud(scenario, seed=seed, running=running) as cloud:
            done = asyncio.Event()
            clouds.append((cloud, asyncio.get_running_loop(), done))
            ready.set()
            await done.wait()

    def main() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="simulated-cloud", daemon=True)
    thread.start()
    ready.wait()
    if failure:
        raise failure[0]
    cloud, loop, done = clouds[0]
    try:
        yield cloud
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
