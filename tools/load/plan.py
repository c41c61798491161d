"""What a sweep will run, what it leaves out and why, how long it takes and what it costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tools.errors import UsageError
from tools.load.cell import CellPlan
from tools.load.client import Patience
from tools.load.facts import EndpointFacts
from tools.load.schedule import Arrivals, Shape
from tools.load.summary import Slo

SETUP = 1.0  # seconds a cell takes besides its load: exact lengths, common start
TAIL = 2.0  # seconds that the last requests of a window are assumed to take
MAX_CELLS = 2000
MAX_SEARCH = 20  # cells that a search may take for one shape
Search = Literal["", "knee", "rate"]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """The axes of a sweep and what holds for all its cells; times in seconds.

    With ``rates`` (requests a second) the loop is open and ``max_in_flight`` bounds it; else it
    is closed with ``concurrency``. ``inputs`` count the chat template; they are not used where
    the prompts come from a file.
    """

    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    inputs: tuple[int, ...] = (512,)
    outputs: tuple[int, ...] = (128,)
    rates: tuple[float, ...] = ()
    shape: Shape = "poisson"
    end_rate: float = 0.0
    max_in_flight: int = 512
    window: float = 20.0
    warmup: float = 5.0
    repeats: int = 1
    seed: int = 0
    slo: Slo = field(default_factory=Slo)
    patience: Patience = field(default_factory=Patience)
    prompts: str = ""  # a file; "": unique random ones
    ignore_eos: bool = True
    thinking: bool | None = None
    temperature: float | None = None
    usd_per_hour: float | None = None
    max_seconds: float | None = None
    max_usd: float | None = None
    search: Search = ""
    share: float = 0.99  # of the requests due that must be good at the highest rate
    beyond_kv: bool = False  # also cells that together need more tokens than the KV pool holds

    def __post_init__(self) -> None:
        whole: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("concurrency", self.concurrency),
            ("input length", self.inputs),
            ("output length", self.outputs),
            ("number of repeats", (self.repeats,)),
        )
        for name, values in whole:
            if not values or any(value < 1 for value in values):
                raise UsageError(f"Each {name} must be 1 or more.")
        if any(not math.isfinite(rate) or rate <= 0 for rate in self.rates):
            raise UsageError("Each rate must be a positive number of requests a second.")
        if not 0 < self.window <= 86_400 or not 0 <= self.warmup <= 86_400:
            raise UsageError("The window must be longer than 0 s, and no phase longer than a day.")
        if self.search == "rate" and not self.slo:
            raise UsageError(
                "The highest rate inside an objective needs the objective.",
                fix="Give --slo-ttft, --slo-tpot or --slo-e2e, in milliseconds.",
            )
        if not 0 < self.share <= 1:
            raise UsageError("The share of good requests must be above 0 and at most 1.")
        if self.max_usd is not None and self.usd_per_hour is None:
            raise UsageError(
                "A budget in dollars needs the price of the endpoint.", fix="Give --usd-per-hour."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One cell; ``skip`` says why it does not run, if it does not."""

    input: int  # tokens; 0: as the file has them
    output: int
    concurrency: int = 0  # 0: open loop
    rate: float = 0.0
    repeat: int = 0
    skip: str = ""

    @property
    def load(self) -> str:
        """Return the load in words."""
        return f"{self.rate:g}/s" if self.rate else f"c={self.concurrency}"

    @property
    def label(self) -> str:
        """Return the cell in words."""
        size = f"{self.input}→{self.output}" if self.input else f"file→{self.output}"
        return f"{self.load} {size}" + (f" #{self.repeat + 1}" if self.repeat else "")

    def seed(self, plan: SweepPlan) -> str:
        """Return the seed of the cell's prompts: no two cells share one."""
        return f"{plan.seed}/{self.input}/{self.output}/{self.load}/{self.repeat}"

    def cell_plan(self, plan: SweepPlan) -> CellPlan:
        """Return what the client is told."""
        arrivals = None
        if self.rate:
            end = plan.end_rate or self.rate
            arrivals = Arrivals(plan.shape, self.rate, end, plan.warmup + plan.window)
        return CellPlan(
            slots=self.concurrency or plan.max_in_flight,
            window=plan.window,
            warmup=plan.warmup,
            arrivals=arrivals,
            seed=plan.seed * 1000 + self.repeat,
            patience=plan.patience,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sweep takes: ``seconds`` as expected, at most ``most`` if requests end slowly.

    Of a search, the number of cells is the most that it may take.
    """

    cells: int
    skipped: int
    seconds: float
    most: float
    usd: float | None
    most_usd: float | None


def plan_cells(plan: SweepPlan, facts: EndpointFacts) -> list[PlannedCell]:
    """Return all cells, light load first; those that can't run carry the reason."""
    inputs = (0,) if plan.prompts else plan.inputs
    loads: list[tuple[int, float]] = (
        [(0, rate) for rate in sorted(set(plan.rates))]
        if plan.rates
        else [(level, 0.0) for level in sorted(set(plan.concurrency))]
    )
    if plan.search:  # the loads are what is looked for
        loads = [(1, 0.0)]
    count = len(inputs) * len(plan.outputs) * len(loads) * plan.repeats
    if count > MAX_CELLS:
        raise UsageError(f"{count} cells are more than {MAX_CELLS}.", fix="Take fewer values.")
    return [
        PlannedCell(size, out, level, rate, repeat, skip_reason(plan, facts, size, out, level))
        for size, out, (level, rate), repeat in itertools.product(
            inputs, plan.outputs, loads, range(plan.repeats)
        )
    ]


def skip_reason(
    plan: SweepPlan, facts: EndpointFacts, size: int, output: int, concurrency: int
) -> str:
    """Return why a cell can't be measured on this endpoint, or an empty text."""
    total = size + output
    if facts.max_model_len and total > facts.max_model_len:
        return f"{size} + {output} tokens are more than max_model_len {facts.max_model_len}"
    if facts.kv_tokens and total > facts.kv_tokens:
        return f"{size} + {output} tokens are more than the KV cache's {facts.kv_tokens}"
    needed = total * concurrency
    if facts.kv_tokens and needed > facts.kv_tokens and not plan.beyond_kv:
        return (
            f"{concurrency} × {total} = {needed} tokens are more than the KV cache's "
            f"{facts.kv_tokens}: requests would queue"
        )
    return ""


def estimate(plan: SweepPlan, cells: list[PlannedCell]) -> Estimate:
    """Return how long the cells take and what they cost at the plan's price."""
    running = sum(1 for cell in cells if not cell.skip)
    if plan.search:  # an upper bound: a search ends when it has found
        running = len({(cell.input, cell.output) for cell in cells if not cell.skip}) * MAX_SEARCH
    each = plan.warmup + plan.window + SETUP
    seconds = running * (each + TAIL)
    most = running * (each + plan.patience.total)
    price = None if plan.usd_per_hour is None else plan.usd_per_hour / 3600
    return Estimate(
        cells=running,
        skipped=sum(1 for cell in cells if cell.skip),
        seconds=seconds,
        most=most,
        usd=None if price is None else seconds * price,
        most_usd=None if price is None else most * price,
    )
