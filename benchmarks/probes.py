"""How long the probe phase takes, beside its longest chain of dependent cloud calls.

Starts the simulated cloud in a process of its own (a real cloud does not use this process's
CPU), with a latency on every cloud call, runs the probes, and prints the ratio of their wall
time to the longest chain times the latency. The limit is 1.5, and three calls for the chain. The
Google libraries are imported before the clock starts.

Usage: python benchmarks/probes.py [--json] [--latency SECONDS] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Target
from tools.probes import run_probes
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import Scenario, from_row

LIMIT = 1.5
LONGEST_CHAIN = 3

_REVISION = {
    "image": "vllm/vllm-openai:v0.22.0",
    "accelerator": "nvidia-l4",
    "args": ["--model=google/gemma-4-12b"],
}
_ROW: dict[str, Any] = {
    "name": "benchmark",
    "title": "A failing revision in a chatty service",
    "kind": "cloud-run",
    "project": "example-project",
    "location": "us-east4",
    "now": "2026-06-06T04:00:00Z",
    "services": [
        {
            "name": "gemma",
            "revisions": [
                {**_REVISION, "name": "gemma-00001-abc", "created": "-2h", "ready": True},
                {**_REVISION, "name": "gemma-00002-def", "created": "-20m", "ready": False},
            ],
        }
    ],
    "series": [
        {
            "metric": "run.googleapis.com/container/instance_count",
            "labels": {"state": "active"},
            "resource": {"type": "cloud_run_revision"},
            "points": [["-2m", 1]],
        }
    ],
    "endpoint": {},
    "expected": {"verdict": "confirmed", "exit_code": 1},
}


def scenario(entries: int) -> Scenario:
    """Return a scenario with so many log entries of its failing revision."""
    logs = [
        {
            "at": "-19m",
            "times": entries,
            "every": "500ms",
            "stream": "stderr",
            "text": "(EngineCore pid=1) INFO {{time}} [core.py:1] step {{n}}",
        }
    ]
    return from_row({**_ROW, "logs": logs})


# Name → entries, whether the region is known, and the longest chain of dependent calls then.
CASES: dict[str, tuple[int, bool, int]] = {
    "region known, one page of logs": (250, True, 1),
    "region known, more than a page": (1500, True, 2),
    "region not known, more than a page": (1500, False, 3),
}


async def _serve(entries: int, latency: float, pipe: Connection) -> None:
    async with SimulatedCloud(scenario(entries)) as cloud:
        for api in ("run.*", "logging.*", "monitoring.*", "tpu.*"):
            cloud.inject(api, latency=latency)
        pipe.send((cloud.grpc_address, cloud.base_url))
        await asyncio.to_thread(pipe.recv)


def serve(entries: int, latency: float, pipe: Connection) -> None:
    """Serve the scenario until the other end of the pipe says something or goes away."""
    with suppress(EOFError):
        asyncio.run(_serve(entries, latency, pipe))


@contextmanager
def simulated(entries: int, latency: float) -> Iterator[tuple[str, str]]:
    """Yield the gRPC address and the endpoint's URL of a simulated cloud in another process."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(entries, latency, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("done")
        process.join(10)
        here.close()
        there.close()


async def measure(entries: int, located: bool, latency: float, rounds: int) -> dict[str, float]:
    """Return the median wall time of the probe phase in seconds, and its calls."""
    seconds: list[float] = []
    calls = 0
    data = scenario(entries)
    with simulated(entries, latency) as (address, url):
        config = CloudConfig(
            project=data.project,
            location=data.location if located else "",
            loopback=address,
            now=lambda: data.now,
        )
        target = Target("cloud-run", data.service, data.project, config.location)
        endpoint = EndpointConfig(url=url if located else "")
        window = (data.now - timedelta(hours=1), data.now)
        for round_number in range(rounds + 1):
            start = perf_counter()
            _, probes = await run_probes(target, config, endpoint, window=window)
            if round_number:  # the first pays for the imports
                seconds.append(perf_counter() - start)
            calls = sum(probe.calls for probe in probes)
            assert all(probe.observations or probe.records for probe in probes)
    return {"seconds": statistics.median(seconds), "slowest": max(seconds), "cloud_calls": calls}


async def run(latency: float, rounds: int) -> dict[str, Any]:
    """Return the figures of every case."""
    cases = {}
    for name, (entries, located, chain) in CASES.items():
        found = await measure(entries, located, latency, rounds)
        ratio = found["seconds"] / (chain * latency)
        cases[name] = {
            **{key: round(value, 3) for key, value in found.items()},
            "longest_chain": chain,
            "ratio": round(ratio, 2),
            "ok": ratio <= LIMIT and chain <= LONGEST_CHAIN,
        }
    return {"latency": latency, "rounds": rounds, "limit": LIMIT, "cases": cases}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; exit code 1 when a case is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds added to each call")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    figures = asyncio.run(run(chosen.latency, chosen.rounds))
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"probe phase with {chosen.latency * 1000:.0f} ms in every cloud call")
        for name, case in figures["cases"].items():
            print(
                f"  {name}: {case['seconds']:.3f} s, {case['cloud_calls']:.0f} calls, chain "
                f"{case['longest_chain']}, ratio {case['ratio']:.2f} (limit {LIMIT})"
                f" {'ok' if case['ok'] else 'TOO SLOW'}"
            )
    return 0 if all(case["ok"] for case in figures["cases"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
