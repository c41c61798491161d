"""Which model, precision, accelerator and flags suit a workload, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from tools.errors import UsageError
from tools.sizing.accelerators import Accelerator, accelerator, accelerator_names
from tools.sizing.architecture import Architecture, model, model_names
from tools.sizing.cost import DAYS_A_MONTH, HOURS_A_DAY
from tools.sizing.fit import FitResult, evaluate
from tools.sizing.flags import ServeFlags
from tools.sizing.prices import Offer, offers
from tools.sizing.request import FitRequest, Plan, resolve
from tools.sizing.speed import decode_ceiling
from tools.sizing.tables import table

Traffic = Literal["steady", "office", "bursty"]
# Share of the month in use: always; ten hours of five days; a tenth.
DUTY: Mapping[str, float] = {"steady": 1.0, "office": 50 / 168, "bursty": 0.1}
PRECISIONS = ("bf16", "fp8", "w4a16")
COUNTS = (1, 2, 4, 8)
# Measured single-stream rates reached 0.26 to 0.70 of the ceiling (docs/sizing.md).
EFFICIENCY = 0.5


@dataclass(frozen=True)
class Workload:
    """What is wanted. 0 and "" mean that it does not matter."""

    users: int = 1  # requests at once
    context: int = 8192  # tokens a request
    tokens_per_s: float = 0.0  # for each user
    budget: float = 0.0  # dollars a month
    traffic: Traffic = "steady"
    tools: bool = False
    images: bool = False
    region: str = ""
    models: tuple[str, ...] = ()  # only these
    quota: Mapping[str, int] = field(default_factory=dict)  # accelerator → devices; absent: any


@dataclass(frozen=True)
class Option:
    """One way to serve the workload, with what it costs and how fast it is."""

    result: FitResult
    offer: Offer
    usd_per_month: float
    tokens_per_s: float  # a user's ceiling with all users at once
    flags: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the option in a few words."""
        plan = self.result.plan
        return f"{plan.arch.name} {plan.kind.name} on {plan.count} × {plan.card.name}"

    def to_json(self) -> dict[str, Any]:
        """Return the option as JSON has it."""
        plan, result = self.result.plan, self.result
        return {
            "model": plan.arch.name,
            "precision": plan.kind.name,
            "accelerator": plan.card.name,
            "count": plan.count,
            "flags": list(self.flags),
            "usd_per_month": round(self.usd_per_month, 2),
            "offer": f"{self.offer.kind}: {self.offer.where}, {self.offer.region}",
            "tokens_per_s_ceiling_per_user": round(self.tokens_per_s, 2),
            "kv_tokens": result.capacity.tokens,
            "max_concurrency": round(result.capacity.concurrency, 2),
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Rejection:
    """Why one combination is not an option."""

    name: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return the rejection as JSON has it."""
        return {"name": self.name, "reason": self.reason}


@dataclass(frozen=True)
class Recommendation:
    """Options, best first; the front of cost, speed and size; and everything turned down."""

    workload: Workload
    options: tuple[Option, ...]
    front: tuple[Option, ...]
    rejections: tuple[Rejection, ...]
    considered: int
    explanation: tuple[str, ...] = ()

    def to_json(self, *, limit: int = 10) -> dict[str, Any]:
        """Return the first options, the whole front and the rejections, as JSON has them."""
        return {
            "schema": 1,
            "considered": self.considered,
            "options": [option.to_json() for option in self.options[:limit]],
            "pareto": [option.to_json() for option in self.front],
            "rejections": [rejection.to_json() for rejection in self.rejections],
            "explanation": list(self.explanation),
        }


def recommend(workload: Workload) -> Recommendation:
    """Return ranked options for a workload.

    With a budget the largest model inside it comes first, without one the cheapest option.
    Raises UsageError for impossible values and unknown names.
    """
    check(workload)
    options: list[Option] = []
    rejections: list[Rejection] = []
    considered = 0
    for arch, kind, card, count in _combinations(workload):
        considered += 1
        found = _judge(workload, arch, kind, card, count)
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            options.append(found)
    options = _cheapest(options)
    options.sort(key=lambda option: _rank(workload, option))
    front = pareto(options)
    ranked = tuple(
        replace(option, reasons=_reasons(workload, option, place, options, front))
        for place, option in enumerate(options, 1)
    )
    return Recommendation(
        workload=workload,
        options=ranked,
        front=tuple(option for option in ranked if _same_in(option, front)),
        rejections=tuple(rejections),
        considered=considered,
        explanation=_explain(workload, ranked, rejections),
    )


def check(workload: Workload) -> None:
    """Raise UsageError when the workload can't be meant."""
    if not 1 <= workload.users <= 100_000:
        raise UsageError(f"{workload.users} users are not possible.", fix="Give 1 to 100,000.")
    if not 1 <= workload.context <= 262_144:
        raise UsageError(
            f"A context of {workload.context} tokens is not possible.",
            fix="Give 1 to 262144; no Gemma 4 has more.",
        )
    if workload.tokens_per_s < 0 or workload.budget < 0:
        raise UsageError("Speed and budget can't be negative.", fix="Give 0 for no wish.")
    if workload.traffic not in DUTY:
        raise UsageError(
            f"There is no traffic {workload.traffic!r}.", fix=f"Known: {', '.join(DUTY)}."
        )
    for name in workload.models:
        model(name)
    for name in workload.quota:
        accelerator(name)


def pareto(options: list[Option]) -> list[Option]:
    """Return the options that no model as large beats in both cost and speed, cheapest first."""
    front: list[Option] = []
    for option in sorted(options, key=lambda one: (one.usd_per_month, -one.tokens_per_s)):
        size = option.result.plan.arch.total
        if not any(
            other.tokens_per_s >= option.tokens_per_s and other.result.plan.arch.total >= size
            for other in front
        ):
            front.append(option)
    return front


def _combinations(workload: Workload) -> Iterator[tuple[Architecture, str, Accelerator, int]]:
    chosen = [model(name) for name in workload.models or model_names()]
    cards = [accelerator(name) for name in accelerator_names(google=True)]
    for arch, kind, card, count in product(chosen, PRECISIONS, cards, COUNTS):
        if card.topologies and count not in card.topologies:
            continue
        if arch.q_heads % count == 0:
            yield arch, kind, card, count


@lru_cache(maxsize=4096)
def _plan(name: str, kind: str, card: str, count: int, context: int, images: bool, kv: str) -> Plan:
    flags = ServeFlags(
        max_model_len=context, kv_cache_dtype=kv, gpu_memory_utilization=0.92,
        language_model_only=not images,
    )  # fmt: skip
    return resolve(FitRequest(name, card, kind, count=count, flags=flags))


def _judge(
    workload: Workload, arch: Architecture, kind: str, card: Accelerator, count: int
) -> Option | Rejection:
    name = f"{arch.name} {kind} on {count} × {card.name}"
    if workload.context > arch.context:
        return Rejection(name, f"its context ends at {arch.context:,} tokens")
    quota = _quota(workload, card.name)
    if count > quota:
        return Rejection(name, f"the quota is {quota} × {card.name}")
    offer = _offer(card.name, workload, count)
    if isinstance(offer, str):
        return Rejection(name, offer)
    month = offer.usd_per_hour * count * HOURS_A_DAY * DAYS_A_MONTH
    month *= DUTY[workload.traffic] if offer.scales_to_zero else 1.0
    if workload.budget and month > workload.budget:
        return Rejection(name, f"{month:,.0f} USD a month is over the budget")
    found: FitResult | None = None
    reason = ""
    for kv in ("auto", "fp8"):
        plan = _plan(arch.name, kind, card.name, count, workload.context, workload.images, kv)
        result = evaluate(plan)
        if not result.fits:
            reason = reason or _why(result)
        elif result.capacity.concurrency < workload.users:
            reason = (
                f"holds {result.capacity.concurrency:.1f} requests of {workload.context:,} tokens, "
                f"not {workload.users}"
            )
        else:
            found = result
            break
    if not found:
        return Rejection(name, reason)
    ceiling = decode_ceiling(found.plan, batch=workload.users, context=workload.context // 2)
    rate = ceiling.tokens_per_s / workload.users
    if workload.tokens_per_s and rate * EFFICIENCY < workload.tokens_per_s:
        return Rejection(
            name,
            f"{rate:.1f} tokens/s a user is the ceiling ({ceiling.bound}); half of it, which is "
            f"what measured starts reach, is under the {workload.tokens_per_s:g} that are wished",
        )
    return Option(found, offer, month, rate, _flags(workload, found))


def _offer(card: str, workload: Workload, count: int) -> Offer | str:
    # Cloud Run gives one GPU to an instance.
    kinds = {"cloud-run", "on-demand"} if count == 1 else {"on-demand"}
    known = [offer for offer in offers(card) if offer.kind in kinds]
    if not known:
        return "no price is known"
    if workload.region:
        there = [offer for offer in known if _in_region(offer, workload.region)]
        if not there:
            regions = "; ".join(dict.fromkeys(offer.region for offer in known))
            return f"no offer is known in {workload.region} (known: {regions})"
        known = there
    duty = DUTY[workload.traffic]
    return min(known, key=lambda one: one.usd_per_hour * (duty if one.scales_to_zero else 1.0))


def _in_region(offer: Offer, region: str) -> bool:
    names = [name.strip() for name in offer.region.split(",")]
    return any(region == name or ("-" not in name and region.startswith(name)) for name in names)


def _quota(workload: Workload, card: str) -> int:
    limits = {accelerator(name).name: count for name, count in workload.quota.items()}
    return limits.get(card, max(COUNTS))


def _why(result: FitResult) -> str:
    if result.refusals:
        return result.refusals[0].rstrip(".")
    gib = 2**30
    match result.outcome:
        case "oom_at_load":
            return (
                f"loading peaks at {result.memory.load_peak / gib:.1f} of "
                f"{result.plan.card.usable_gib:.1f} GiB"
            )
        case "no_kv_memory":
            return "no memory is left for the KV cache"
        case _:
            return (
                f"one request takes {result.need / gib:.1f} GiB of KV cache, and there are "
                f"{max(result.memory.kv.expected, 0) / gib:.1f}"
            )


def _cheapest(options: list[Option]) -> list[Option]:
    # Of one model, precision and accelerator, more devices are kept only where they are faster.
    return [
        option
        for option in options
        if not any(
            other is not option
            and other.result.plan.arch is option.result.plan.arch
            and other.result.plan.kind is option.result.plan.kind
            and other.usd_per_month <= option.usd_per_month
            and other.tokens_per_s >= option.tokens_per_s
            for other in options
        )
    ]


def _rank(workload: Workload, option: Option) -> tuple[float, ...]:
    plan = option.result.plan
    size, cost = -float(plan.arch.total), round(option.usd_per_month)
    first = (size, cost) if workload.budget else (cost, size)
    # Of one size and price, the weights nearest to the original come first.
    return (*first, -plan.kind.bits, -option.tokens_per_s)


def _flags(workload: Workload, result: FitResult) -> tuple[str, ...]:
    plan = result.plan
    words = [f"--max-model-len={workload.context}"]
    if plan.tp > 1:
        words.append(f"--tensor-parallel-size={plan.tp}")
    if plan.flags.kv_cache_dtype != "auto":
        words.append(f"--kv-cache-dtype={plan.flags.kv_cache_dtype}")
    if not workload.images:
        words.append("--language-model-only")
    elif plan.raised_batch:
        words.append(f"--max-num-batched-tokens={plan.batched_tokens}")
    words.append(f"--max-num-seqs={max(workload.users, 1)}")
    if workload.tools:
        words += ["--enable-auto-tool-choice", "--tool-call-parser=gemma4"]
    words.append("--reasoning-parser=gemma4")
    return tuple(words)


def _reasons(
    workload: Workload, option: Option, place: int, options: list[Option], front: list[Option]
) -> tuple[str, ...]:
    plan = option.result.plan
    lines = [
        f"{option.usd_per_month:,.0f} USD a month ({option.offer.kind}), at most "
        f"{option.tokens_per_s:.0f} tokens/s a user, room for "
        f"{option.result.capacity.concurrency:.1f} × {workload.context:,} tokens"
    ]
    if place == 1:
        lines.append(
            "the largest model inside the budget" if workload.budget else "the cheapest that holds"
        )
    elif plan.arch.total < options[0].result.plan.arch.total:
        lines.append(f"a smaller model than {options[0].result.plan.arch.name}")
    if _same_in(option, front):
        lines.append("on the front: nothing as large is both cheaper and faster")
    if plan.kind.quantised:
        lines.append(f"{plan.kind.name} weights: check the quality on your own tasks")
    missing = table("models")["models"].get(plan.arch.name, {}).get("qat_missing")
    if missing and plan.kind.name == "w4a16":
        lines.append(str(missing))
    if option.offer.scales_to_zero and workload.traffic == "bursty":
        lines.append("scales to zero: the first request after a pause waits for a cold start")
    if plan.card.tpu:
        lines.append("TPU: no LoRA, and compiled programs need room outside of the utilisation")
    return tuple(lines)


def _same_in(option: Option, front: list[Option]) -> bool:
    return any(one.result is option.result for one in front)


def _explain(
    workload: Workload, options: tuple[Option, ...], rejections: list[Rejection]
) -> tuple[str, ...]:
    rule = (
        "With a budget, the largest model inside it comes first; of one size, the cheapest."
        if workload.budget
        else "Without a budget, the cheapest comes first; of one price, the largest model."
    )
    lines = [rule, "Speeds are ceilings from bandwidth and arithmetic; half of them is usual."]
    if not options:
        lines.append(f"Nothing holds: {len(rejections)} combinations were turned down.")
    return tuple(lines)
