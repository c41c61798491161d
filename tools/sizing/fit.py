"""Does it fit, how much of what goes where, and why: `fit` computes and explains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from tools.sizing import limits
from tools.sizing.accelerators import GIB
from tools.sizing.explain import explanation, sources
from tools.sizing.kv import Capacity
from tools.sizing.memory import (
    CONTEXT,
    Memory,
    block_bytes,
    capacity_of,
    longest,
    memory,
    spare_blocks,
)
from tools.sizing.prices import Offer, usual, warnings
from tools.sizing.request import FitRequest, Plan, resolve
from tools.sizing.speed import decode_ceiling

if TYPE_CHECKING:
    from tools.sizing.bootlog import BootLog

Outcome = Literal["fits", "oom_at_load", "no_kv_memory", "max_model_len_too_long", "unsupported"]

# Below this, a length that `auto` found is no service.
SHORTEST = 512


@dataclass(frozen=True)
class Advice:
    """One change, what it does, and the outcome when it is computed again; "" where it can't."""

    change: str
    effect: str
    outcome: str

    def to_json(self) -> dict[str, str]:
        """Return the advice as JSON has it."""
        return {"change": self.change, "effect": self.effect, "outcome": self.outcome}


@dataclass(frozen=True)
class FitResult:
    """What `fit` found; per device. ``length`` is the context length that was computed with."""

    plan: Plan
    outcome: Outcome
    memory: Memory
    capacity: Capacity
    length: int
    longest: int
    need: int  # KV bytes of one request of ``length``
    block_bytes: int
    ceiling: float
    offer: Offer | None
    refusals: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = field(default=())
    sources: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Return whether it starts."""
        return self.outcome == "fits"

    @property
    def usd_per_hour(self) -> float | None:
        """Return the price of all devices, None when none is known."""
        return round(self.offer.usd_per_hour * self.plan.count, 4) if self.offer else None

    def to_json(self) -> dict[str, Any]:
        """Return the result by the contract of `fit --json`."""
        plan, memory = self.plan, self.memory
        starts = self.outcome not in {"oom_at_load", "no_kv_memory"}
        return {
            "schema": 1,
            "outcome": self.outcome,
            "weights_gib": _gib(memory.resident),
            "load_peak_gib": _gib(memory.load_peak),
            "usable_gib": _gib(plan.card.usable),
            "overhead_gib": memory.overhead.gib(),
            "kv_gib": memory.kv.clamped().gib(),
            "kv_tokens": self.capacity.tokens if starts else 0,
            "max_concurrency": round(self.capacity.concurrency, 4) if starts else 0.0,
            "blocks": self.capacity.blocks if starts else 0,
            "block_bytes": self.block_bytes,
            "decode_tokens_per_s_ceiling": round(self.ceiling, 2),
            "usd_per_hour": self.usd_per_hour,
            "explanation": list(self.explanation),
            "advice": [advice.to_json() for advice in self.advice],
            "sources": list(self.sources),
            "model": plan.arch.name,
            "precision": plan.kind.name,
            "accelerator": plan.card.name,
            "count": plan.count,
            "tensor_parallel_size": plan.tp,
            "vllm_version": plan.version_text,
            "max_model_len": self.length,
            "longest_max_model_len": self.longest,
            "kv_gib_one_request": _gib(self.need),
            "weights_parts_gib": {name: _gib(size) for name, size in memory.weights.parts},
            "offloaded_gib": _gib(memory.weights.offloaded),
        }


def fit(request: FitRequest, *, advise: bool = True, today: date | None = None) -> FitResult:
    """Return whether the request fits, with the reasons, and what would help if it does not.

    Raises UsageError for what can't be asked.
    """
    result = evaluate(resolve(request))
    result = replace(result, explanation=explanation(result), sources=sources(result))
    if today and result.offer:
        stale = warnings((result.offer,), today)
        result = replace(result, explanation=(*result.explanation, *stale))
    if advise:
        from tools.sizing.advise import advice

        result = replace(result, advice=advice(result))
    return result


def fit_measured(
    request: FitRequest, log: BootLog | None, *, today: date | None = None
) -> FitResult:
    """Return `fit`, its band replaced by what a start measured, and the difference explained."""
    if log is None:
        return fit(request, today=today)
    from tools.sizing.layout import differences

    computed = evaluate(resolve(replace(request, measured=None)))
    result = fit(replace(request, measured=log.measured), today=today)
    return replace(result, explanation=(*result.explanation, *differences(log, computed)))


def evaluate(plan: Plan) -> FitResult:
    """Return the numbers and the outcome of a plan, without prose: about 0.1 ms."""
    parts = memory(plan)
    size = max(parts.kv.expected, 0)
    most = longest(plan, size)
    length = plan.length or max(most, 1)
    found = capacity_of(plan, size, length)
    refusals = limits.refusals(plan)
    block = block_bytes(plan)
    return FitResult(
        plan=plan,
        outcome=_outcome(plan, parts, found, most, refusals),
        memory=parts,
        capacity=found,
        length=length,
        longest=most,
        need=found.request_blocks * block,
        block_bytes=block,
        ceiling=decode_ceiling(plan).tokens_per_s,
        offer=usual(plan.card.name),
        refusals=refusals,
    )


def _outcome(
    plan: Plan, parts: Memory, found: Capacity, most: int, refusals: tuple[str, ...]
) -> Outcome:
    given = plan.kv_gib is not None or plan.measured is not None
    room = plan.card.usable - (0 if plan.card.tpu else CONTEXT)
    if refusals:
        return "unsupported"
    if not given and parts.load_peak > room:
        return "oom_at_load"
    if parts.kv.expected <= 0 or (not plan.length and most < SHORTEST):
        return "no_kv_memory"
    if found.blocks - spare_blocks(plan) * (not plan.card.tpu) < found.request_blocks:
        return "max_model_len_too_long"
    return "fits"


def _gib(size: float) -> float:
    return round(size / GIB, 3)
