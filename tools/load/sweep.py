"""Run the cells of a sweep one by one, keep each as soon as it is measured, stop when told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tools.config import EndpointConfig
from tools.load.cell import CellRun
from tools.load.endpoint import LoadTarget, load_target
from tools.load.event_loop import loop_name
from tools.load.facts import EndpointFacts
from tools.load.httptools_response import INSTALLED as HTTPTOOLS
from tools.load.knee import BestRate, Knee, find_best_rate, find_knee
from tools.load.plan import MAX_SEARCH, SETUP, TAIL, PlannedCell, SweepPlan, skip_reason
from tools.load.processes import ClientProcesses, Progress
from tools.load.prompts import RequestShape, read_prompts
from tools.load.runs import Cell, Run, RunWriter, new_id, read_run
from tools.load.slots import only_run, split_slots
from tools.load.summary import CellSummary, columns, summarise
from tools.load.vocabulary import Vocabulary, counter, exact_prompts, learn_vocabulary
from tools.vllm.answers import endpoint_client

MAX_SAMPLES = 5000  # requests of a cell that are kept one by one
GIVE_UP_BELOW = 0.5  # success rate under which a heavier load of the same shape is not tried


@dataclass(frozen=True, slots=True)
class SweepEvent:
    """What a screen is told: a cell began, moved on, ended, or was skipped."""

    what: str  # "started" | "progress" | "measured" | "skipped"
    number: int
    of: int
    cell: PlannedCell
    progress: Progress | None = None
    result: Cell | None = None


Tell = Callable[[SweepEvent], None]


def provenance(
    plan: SweepPlan, config: EndpointConfig, facts: EndpointFacts, known: dict[str, Any]
) -> dict[str, Any]:
    """Return where a run's figures come from; ``known`` adds flags, accelerator, region, price."""
    now = datetime.now(UTC)
    return {
        "id": new_id(now),
        "source": "gemma-sre",
        "started": now.isoformat(timespec="seconds"),
        "endpoint": without_password(config.url),
        "found_by": config.found_by,
        "model": facts.model,
        "label": facts.model,
        "vllm_version": facts.vllm_version,
        "max_model_len": facts.max_model_len or None,
        "kv_tokens": facts.kv_tokens or None,
        "usd_per_hour": plan.usd_per_hour,
        "loop": plan.shape if plan.rates or plan.search == "rate" else "closed",
        "seed": plan.seed,
        "prompts": {
            "kind": "file" if plan.prompts else "unique",
            "ignore_eos": plan.ignore_eos,
            "thinking": plan.thinking,
            "temperature": plan.temperature,
        },
        "slo": asdict(plan.slo),
        "window_s": plan.window,
        "warmup_s": plan.warmup,
        "repeats": plan.repeats,
        "other_load": facts.running,
        "client": {
            "event_loop": loop_name(),
            "http": "httptools" if HTTPTOOLS else "own",
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
        },
        **known,
    }


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all cells of a sweep share."""

    clients: ClientProcesses
    target: LoadTarget
    messages: list[list[dict[str, Any]]] | None
    writer: RunWriter
    tell: Tell


def without_password(url: str) -> str:
    """Return a URL as it may be kept: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class Sweep:
    """One sweep against one endpoint. ``stop`` ends it at once; what was measured is kept."""

    def __init__(
        self,
        plan: SweepPlan,
        cells: list[PlannedCell],
        config: EndpointConfig,
        facts: EndpointFacts,
        *,
        folder: Path,
        token: str | None = None,
        known: dict[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.cells = cells
        self.stop = asyncio.Event()
        self._config = config
        self._facts = facts
        self._token = token
        self._folder = folder
        self._known = known or {}
        self._vocabulary: Vocabulary | None = None
        self._began = 0.0

    async def run(self, tell: Tell | None = None) -> Run:
        """Run every cell that can run and return the run, as it stands on disk.

        Raises UsageError while another run of this user has the endpoint, EndpointError when the
        endpoint can't be asked for token counts, ClientLost when a client process dies.
        """
        tell = tell or _silent
        target = load_target(self._config, self._token)
        known = dict(self._known)
        messages = None
        if self.plan.prompts:
            messages, digest = read_prompts(self.plan.prompts)
            known["prompts_sha256"] = digest
        about = provenance(self.plan, self._config, self._facts, known)
        with only_run(self._config.url, self._folder):
            async with ClientProcesses(len(split_slots(self._slots()))) as clients:
                with RunWriter(self._folder, about) as writer:
                    self._began = time.monotonic()
                    bench = _Bench(clients, target, messages, writer, tell)
                    end: dict[str, Any] = {}
                    if self.plan.search:
                        end = await self._search(bench)
                    else:
                        await self._all(bench)
                    writer.close(
                        stopped=self.stop.is_set(),
                        seconds=round(time.monotonic() - self._began, 1),
                        **end,
                    )
        return read_run(writer.path)

    def _slots(self) -> int:
        if self.plan.search:
            return self.plan.max_in_flight
        plans = [cell.cell_plan(self.plan) for cell in self.cells if not cell.skip]
        return max((plan.slots for plan in plans), default=1)

    async def _all(self, bench: _Bench) -> None:
        failed: dict[tuple[int, int], str] = {}
        for number, cell in enumerate(self.cells, 1):
            if self.stop.is_set():
                return
            shape = (cell.input, cell.output)
            reason = cell.skip or self._over_budget() or failed.get(shape, "")
            summary = await self._measure(bench, cell, number, len(self.cells), reason)
            rate = summary.success_rate if summary else None
            if rate is not None and rate < GIVE_UP_BELOW and not self.stop.is_set():
                failed[shape] = f"at {cell.load} only {rate:.0%} of the requests succeeded"

    async def _search(self, bench: _Bench) -> dict[str, Any]:
        """Search each shape for its knee, or for its highest rate; return what was found."""
        found = []
        shapes = dict.fromkeys((c.input, c.output) for c in self.cells if not c.skip)
        number = 0
        for size, output in shapes:

            async def at(
                level: int = 0, rate: float = 0.0, size: int = size, output: int = output
            ) -> CellSummary | None:
                nonlocal number
                number += 1
                cell = PlannedCell(size, output, level, rate)
                reason = self._over_budget()
                reason = reason or skip_reason(self.plan, self._facts, size, output, level)
                if self.stop.is_set() or (number - 1) % MAX_SEARCH == MAX_SEARCH - 1:
                    return None
                summary = await self._measure(bench, cell, number, MAX_SEARCH, reason)
                return None if self.stop.is_set() else summary

            result: Knee | BestRate | None
            if self.plan.search == "knee":
                result = await find_knee(at, most=self.plan.max_in_flight)
            else:
                result = await find_best_rate(
                    lambda rate, at=at: at(rate=rate),  # type: ignore[misc]
                    start=self.plan.rates[0] if self.plan.rates else 1.0,
                    share=self.plan.share,
                )
            told = result.to_json() if result else None
            found.append({"input": size or None, "output": output, self.plan.search: told})
        return {"found": found}

    async def _measure(
        self, bench: _Bench, cell: PlannedCell, number: int, of: int, reason: str
    ) -> CellSummary | None:
        if reason:
            result = _result(cell, skip=reason)
            bench.writer.add(result)
            bench.tell(SweepEvent("skipped", number, of, cell, result=result))
            return None
        bench.tell(SweepEvent("started", number, of, cell))

        def progress(one: Progress) -> None:
            bench.tell(SweepEvent("progress", number, of, cell, progress=one))

        run = await self._cell(bench, cell, progress)
        summary = summarise(run, self.plan.slo)
        result = _result(cell, summary=summary, samples=samples(run))
        bench.writer.add(result)
        bench.tell(SweepEvent("measured", number, of, cell, result=result))
        return summary

    async def _cell(
        self, bench: _Bench, cell: PlannedCell, progress: Callable[[Progress], None]
    ) -> CellRun:
        prompts = await self._prompts(cell, bench.messages)
        return await bench.clients.run(
            bench.target, prompts, cell.cell_plan(self.plan), stop=self.stop, progress=progress
        )

    async def _prompts(
        self, cell: PlannedCell, messages: list[list[dict[str, Any]]] | None
    ) -> dict[str, Any]:
        shape = RequestShape(
            self._facts.model,
            cell.output,
            ignore_eos=self.plan.ignore_eos,
            thinking=self.plan.thinking,
            temperature=self.plan.temperature,
        )
        told = {"shape": asdict(shape), "seed": cell.seed(self.plan)}
        if messages is not None:
            return {**told, "messages": messages}
        async with endpoint_client(self._config, self._token) as client:
            count = counter(client, shape)
            if self._vocabulary is None:
                self._vocabulary = await learn_vocabulary(count)
            prompts, _ = await exact_prompts(
                count, self._vocabulary, cell.input, cell.seed(self.plan), shape
            )
        return {**told, "vocabulary": self._vocabulary.words, "words": prompts.words}

    def _over_budget(self) -> str:
        spent = time.monotonic() - self._began
        after = spent + self.plan.warmup + self.plan.window + SETUP + TAIL
        if self.plan.max_seconds is not None and after > self.plan.max_seconds:
            return f"the budget of {self.plan.max_seconds:g} s would be passed"
        if self.plan.max_usd is not None and self.plan.usd_per_hour is not None:
            cost = after * self.plan.usd_per_hour / 3600
            if cost > self.plan.max_usd:
                return f"the budget of {self.plan.max_usd:g} USD would be passed"
        return ""


def _silent(event: SweepEvent) -> None:
    del event


def samples(run: CellRun) -> dict[str, list[float]]:
    """Return milliseconds of single requests that succeeded, a seeded random part of many."""
    import numpy as np

    data = columns(run.records)
    rows = np.flatnonzero(data.ok & (data.scheduled >= run.start) & (data.scheduled < run.end))
    if len(rows) > MAX_SAMPLES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_SAMPLES, replace=False))
    found = {}
    for name, values in (("ttft", data.ttft()), ("tpot", data.tpot()), ("e2e", data.e2e())):
        picked = values[rows]
        found[name] = [round(float(value), 3) for value in picked[~np.isnan(picked)]]
    return found


def _result(
    cell: PlannedCell,
    *,
    skip: str = "",
    summary: CellSummary | None = None,
    samples: dict[str, list[float]] | None = None,
) -> Cell:
    return Cell(
        input=cell.input or None,
        output=cell.output,
        concurrency=cell.concurrency or None,
        rate=cell.rate or None,
        repeat=cell.repeat,
        summary=summary,
        skip=skip,
        samples=samples or {},
    )


@contextlib.contextmanager
def stop_on_interrupt(stop: asyncio.Event) -> Any:
    """Let the first Ctrl-C end the run and keep what was measured; the second one interrupts."""
    import signal

    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
