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

from tools.config import EndpointConfig
from tools.load.cell import CellRun
from tools.load.endpoint import LoadTarget, load_target
from tools.load.event_loop import loop_name
from tools.load.facts import EndpointFacts
from tools.load.httptools_response import INSTALLED as HTTPTOOLS
from tools.load.plan import SETUP, TAIL, PlannedCell, SweepPlan
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
        "endpoint": config.url,
        "found_by": config.found_by,
        "model": facts.model,
        "label": facts.model,
        "vllm_version": facts.vllm_version,
        "max_model_len": facts.max_model_len or None,
        "kv_tokens": facts.kv_tokens or None,
        "usd_per_hour": plan.usd_per_hour,
        "loop": plan.shape if plan.rates else "closed",
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
        tell = tell or (lambda event: None)
        target = load_target(self._config, self._token)
        known = dict(self._known)
        messages = None
        if self.plan.prompts:
            messages, digest = read_prompts(self.plan.prompts)
            known["prompts_sha256"] = digest
        about = provenance(self.plan, self._config, self._facts, known)
        slots = max(
            (cell.cell_plan(self.plan).slots for cell in self.cells if not cell.skip), default=1
        )
        with only_run(self._config.url, self._folder):
            async with ClientProcesses(len(split_slots(slots))) as clients:
                with RunWriter(self._folder, about) as writer:
                    self._began = time.monotonic()
                    await self._all(clients, target, messages, writer, tell)
                    writer.close(
                        stopped=self.stop.is_set(),
                        seconds=round(time.monotonic() - self._began, 1),
                    )
        return read_run(writer.path)

    async def _all(
        self,
        clients: ClientProcesses,
        target: LoadTarget,
        messages: list[list[dict[str, Any]]] | None,
        writer: RunWriter,
        tell: Tell,
    ) -> None:
        failed: dict[tuple[int, int], str] = {}
        for number, cell in enumerate(self.cells, 1):
            if self.stop.is_set():
                return
            shape = (cell.input, cell.output)
            reason = cell.skip or self._over_budget() or failed.get(shape, "")
            if reason:
                result = _result(cell, skip=reason)
                writer.add(result)
                tell(SweepEvent("skipped", number, len(self.cells), cell, result=result))
                continue
            tell(SweepEvent("started", number, len(self.cells), cell))

            def progress(
                one: Progress, number: int = number, cell: PlannedCell = cell
            ) -> None:
                tell(SweepEvent("progress", number, len(self.cells), cell, progress=one))

            run = await self._cell(clients, target, messages, cell, progress)
            summary = summarise(run, self.plan.slo)
            result = _result(cell, summary=summary, samples=samples(run))
            writer.add(result)
            tell(SweepEvent("measured", number, len(self.cells), cell, result=result))
            rate = summary.success_rate
            if rate is not None and rate < GIVE_UP_BELOW and not run.stopped:
                failed[shape] = f"at {cell.load} only {rate:.0%} of the requests succeeded"

    async def _cell(
        self,
        clients: ClientProcesses,
        target: LoadTarget,
        messages: list[list[dict[str, Any]]] | None,
        cell: PlannedCell,
        progress: Callable[[Progress], None],
    ) -> CellRun:
        prompts = await self._prompts(cell, messages)
        return await clients.run(
            target, prompts, cell.cell_plan(self.plan), stop=self.stop, progress=progress
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
