"""What serving costs: an hour, a day, a month, a million tokens; and how long a start takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tools.errors import UsageError
from tools.sizing.fit import FitResult, fit
from tools.sizing.phases import COMPILING, PROCESS, WEIGHTS
from tools.sizing.prices import Offer, offers, warnings
from tools.sizing.request import FitRequest
from tools.sizing.speed import decode_ceiling, prefill_ceiling

HOURS_A_DAY = 24.0
DAYS_A_MONTH = 365 / 12

# Seconds before weights load, from a Cloud Run revision's log: container start to the engine's
# configuration. The weights then come at what the volume gives; compiling and graph capture
# follow. Measured starts: 31B on an H200 147 s, 31B w4a16 on an L4 about 330 s over GCS FUSE.
PROCESS_START = (53.0, 88.0)
VOLUME_GBPS = (0.08, 1.0)  # GB/s: GCS FUSE cold to a local SSD
COMPILE = (20.0, 90.0)


@dataclass(frozen=True)
class CostRequest:
    """What is to be priced. ``duty`` is the share of the time that it is in use, 0 to 1."""

    fit: FitRequest
    duty: float = 1.0
    users: int = 1  # sequences at once, for throughput
    context: int = 0  # tokens each of them holds
    tokens_per_s: float = 0.0  # measured, over all users; 0: the ceiling is used and said
    kind: str = ""  # on-demand, spot, flex-start, cloud-run; "": all that are known
    # phase → the seconds that earlier starts took; see tools.sizing.starts.history
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class OfferCost:
    """One offer's cost for all devices, in dollars."""

    offer: Offer
    hour: float
    day: float  # at the duty where it scales to zero, else always on
    month: float
    month_always_on: float
    million_tokens: float

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON has it."""
        offer = self.offer
        return {
            "kind": offer.kind,
            "where": offer.where,
            "region": offer.region,
            "usd_per_hour": round(self.hour, 4),
            "usd_per_day": round(self.day, 2),
            "usd_per_month": round(self.month, 2),
            "usd_per_month_always_on": round(self.month_always_on, 2),
            "usd_per_million_output_tokens": round(self.million_tokens, 4),
            "scales_to_zero": offer.scales_to_zero,
            "includes_machine": offer.includes_machine,
            "price_as_of": offer.day.isoformat(),
            "source": offer.source,
        }


@dataclass(frozen=True)
class Phase:
    """One phase of a cold start, in seconds."""

    name: str
    low: float
    high: float
    starts: int = 0  # that were observed; 0: a guess from constants

    @property
    def measured(self) -> bool:
        """Return whether it comes from starts that were observed."""
        return self.starts > 0

    def to_json(self) -> dict[str, Any]:
        """Return the phase as JSON has it."""
        return {
            "name": self.name,
            "low_s": round(self.low, 1),
            "high_s": round(self.high, 1),
            "measured": self.measured,
            "starts": self.starts,
        }


@dataclass(frozen=True)
class CostResult:
    """What it costs, offer by offer, and what a cold start takes."""

    fit: FitResult
    offers: tuple[OfferCost, ...]
    throughput: float  # output tokens a second over all users
    measured: bool
    prefill_ceiling: float
    cold_start: tuple[Phase, ...]
    explanation: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        return {
            "schema": 1,
            "outcome": self.fit.outcome,
            "model": self.fit.plan.arch.name,
            "precision": self.fit.plan.kind.name,
            "accelerator": self.fit.plan.card.name,
            "count": self.fit.plan.count,
            "tokens_per_s": round(self.throughput, 2),
            "tokens_per_s_is": "measured" if self.measured else "ceiling",
            "prefill_tokens_per_s_ceiling": round(self.prefill_ceiling),
            "offers": [offer.to_json() for offer in self.offers],
            "cold_start": [phase.to_json() for phase in self.cold_start],
            "explanation": list(self.explanation),
        }


def cost(request: CostRequest, *, today: date | None = None) -> CostResult:
    """Return what the deployment costs.

    Raises UsageError for impossible values, and for an accelerator without a known price.
    """
    _check(request)
    result = fit(request.fit, advise=False)
    plan = result.plan
    known = tuple(
        offer for offer in offers(plan.card.name) if not request.kind or offer.kind == request.kind
    )
    if not known:
        kinds = ", ".join(offer.kind for offer in offers(plan.card.name)) or "none"
        raise UsageError(
            f"No {request.kind or 'known'} price of {plan.card.name} is in the price table.",
            fix=f"Known for it: {kinds}.",
        )
    ceiling = decode_ceiling(plan, batch=request.users, context=request.context).tokens_per_s
    rate = request.tokens_per_s or ceiling
    found = tuple(_price(offer, plan.count, request.duty, rate) for offer in known)
    lines = [
        f"{'Measured' if request.tokens_per_s else 'At most'} {rate:,.1f} output tokens/s over "
        f"{request.users} user{'s' if request.users > 1 else ''}"
        + ("." if request.tokens_per_s else ": a ceiling, so real tokens cost more."),
    ]
    if request.tokens_per_s > ceiling:
        lines.append(
            f"The measured rate is above the ceiling of {ceiling:,.1f}: something else was "
            "measured (another model, cached prompts, or chunks instead of tokens)."
        )
    if any(offer.scales_to_zero for offer in known) and request.duty < 1:
        lines.append(
            "Scaling to zero bills the time in use and the idle minutes before an instance stops, "
            "which are not counted here; each start from zero pays the cold start."
        )
    if not result.fits:
        lines.append(f"It does not fit ({result.outcome}), so this would be paid for nothing.")
    lines += [
        f"{offer.where}: the machine around the accelerator is not in this price."
        for offer in known
        if not offer.includes_machine
    ]
    if today:
        lines += warnings(known, today)
    return CostResult(
        fit=result,
        offers=found,
        throughput=rate,
        measured=bool(request.tokens_per_s),
        prefill_ceiling=prefill_ceiling(plan).tokens_per_s,
        cold_start=cold_start(result, request.history),
        explanation=tuple(lines),
    )


def million_tokens(usd_per_hour: float, tokens_per_s: float) -> float:
    """Return dollars a million tokens."""
    return usd_per_hour / (tokens_per_s * 3600) * 1e6


def cold_start(result: FitResult, history: Mapping[str, Sequence[float]]) -> tuple[Phase, ...]:
    """Return the phases of a start from nothing, measured where there is history."""
    size = result.memory.resident + result.memory.weights.offloaded
    gigabytes = size * result.plan.tp / 1e9
    slow, fast = VOLUME_GBPS
    eager = result.plan.flags.enforce_eager
    guesses = {
        PROCESS: PROCESS_START,
        WEIGHTS: (gigabytes / fast, gigabytes / slow),
        COMPILING: (0.0, 10.0) if eager else COMPILE,
    }
    return tuple(
        Phase(name, min(history[name]), max(history[name]), len(history[name]))
        if history.get(name)
        else Phase(name, low, high)
        for name, (low, high) in guesses.items()
    )


def _check(request: CostRequest) -> None:
    if not 0 < request.duty <= 1:
        raise UsageError(f"A duty of {request.duty} is not possible.", fix="Give 0.01 to 1.")
    if not 1 <= request.users <= 100_000:
        raise UsageError(f"{request.users} users are not possible.", fix="Give 1 to 100,000.")
    if request.tokens_per_s < 0 or request.context < 0:
        raise UsageError("Tokens can't be negative.", fix="Give 0 or more.")


def _price(offer: Offer, count: int, duty: float, rate: float) -> OfferCost:
    hour = offer.usd_per_hour * count
    share = duty if offer.scales_to_zero else 1.0
    return OfferCost(
        offer=offer,
        hour=hour,
        day=hour * HOURS_A_DAY * share,
        month=hour * HOURS_A_DAY * DAYS_A_MONTH * share,
        month_always_on=hour * HOURS_A_DAY * DAYS_A_MONTH,
        million_tokens=million_tokens(hour, rate),
    )
