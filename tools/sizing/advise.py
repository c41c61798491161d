"""What would make it fit: the smallest changes, each computed again; and what can't help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from tools.errors import UsageError
from tools.sizing.accelerators import GIB, accelerator, accelerator_names
from tools.sizing.architecture import model, model_names
from tools.sizing.precision import precision
from tools.sizing.prices import usual
from tools.sizing.request import LARGEST_ITEM, Plan, needs_whole_items
from tools.sizing.tables import table
from tools.sizing.weights import Towers

if TYPE_CHECKING:
    from tools.sizing.fit import Advice, FitResult

# The memory that a Cloud Run L4 instance has at most; what is offloaded must find room there.
HOST_GIB = 28
SLOW = "slower: the moved layers cross PCIe for every token"


def advice(result: FitResult) -> tuple[Advice, ...]:
    """Return the changes that make it fit, smallest first, then what can't help.

    When it fits, what must be said for it to start as computed.
    """
    if result.plan.kv_gib is not None or result.plan.measured is not None:
        return ()
    if result.fits:
        return tuple(_to_start(result))
    helping = [found for change in _changes(result) if (found := change()) is not None]
    return (*helping, *_useless(result))


def _to_start(result: FitResult) -> Iterator[Advice]:
    from tools.sizing.fit import Advice

    plan = result.plan
    if not plan.length and result.longest < plan.arch.context:
        yield Advice(
            f"--max-model-len {result.longest} (or auto)",
            f"without it vLLM takes {plan.arch.context:,} and refuses to start",
            "fits",
        )
    if plan.raised_batch and plan.version < (0, 32):
        yield Advice(
            f"--max-num-batched-tokens {LARGEST_ITEM}",
            "without it this version raises ValueError: a video must fit into one batch",
            "fits",
        )


def _changes(result: FitResult) -> Iterator[Callable[[], Advice | None]]:
    plan = result.plan
    if result.outcome == "unsupported":
        yield lambda: _supported(plan)
    if result.outcome == "max_model_len_too_long":
        yield lambda: _shorter(result)
    if result.outcome != "oom_at_load":
        yield lambda: _utilization(plan)
        yield lambda: _batch(plan)
        yield lambda: _fp8_kv(plan)
        yield lambda: _eager(plan)
    yield lambda: _without_towers(plan)
    yield lambda: _offload(plan)
    yield lambda: _smaller_precision(plan)
    yield lambda: _more_devices(plan)
    yield lambda: _smaller_model(plan)
    yield lambda: _larger_card(plan)


def _try(plan: Plan, change: str, effect: str = "") -> Advice | None:
    # Only what fits when computed again is advice.
    from tools.sizing.fit import Advice, evaluate

    try:
        result = evaluate(plan)
    except (UsageError, ZeroDivisionError):
        return None
    if not result.fits:
        return None
    kv = f"{max(result.memory.kv.expected, 0) / GIB:.2f} GiB of KV cache"
    served = f"{result.capacity.concurrency:.1f} × {result.length:,} tokens"
    price = f", {result.usd_per_hour:.2f} USD an hour" if result.usd_per_hour else ""
    rate = f", at most {result.ceiling:.1f} tokens/s a request"
    note = f"; {effect}" if effect else ""
    return Advice(change, f"{kv}, {served}{rate}{price}{note}", result.outcome)


def _flagged(plan: Plan, **changes: object) -> Plan:
    return replace(plan, flags=replace(plan.flags, **changes))  # type: ignore[arg-type]


def _shorter(result: FitResult) -> Advice | None:
    length = result.longest
    # A round number a little below: the estimate is a band.
    rounded = next((n for n in (1024, 512, 256) if length >= 4 * n), 1)
    length = length // rounded * rounded
    if length < 1:
        return None
    return _try(replace(result.plan, length=length), f"--max-model-len {length}")


def _utilization(plan: Plan) -> Advice | None:
    now = plan.flags.gpu_memory_utilization
    for value in (0.92, 0.94, 0.95, 0.96):
        if value > now:
            found = _try(
                _flagged(plan, gpu_memory_utilization=value),
                f"--gpu-memory-utilization {value}",
                "less room for what is not counted",
            )
            if found:
                return found
    return None


def _batch(plan: Plan) -> Advice | None:
    least = LARGEST_ITEM if needs_whole_items(plan.arch, plan.towers, plan.card) else 1024
    if plan.card.tpu or plan.batched_tokens <= least:
        return None
    return _try(
        replace(plan, batched_tokens=least),
        f"--max-num-batched-tokens {least}",
        "smaller activations and sliding windows, slower prefill",
    )


def _fp8_kv(plan: Plan) -> Advice | None:
    if plan.kv_type != "auto":
        return None
    return _try(
        replace(plan, kv_type="fp8", flags=replace(plan.flags, kv_cache_dtype="fp8")),
        "--kv-cache-dtype fp8",
        "half the bytes a token",
    )


def _eager(plan: Plan) -> Advice | None:
    if plan.flags.enforce_eager or plan.card.tpu:
        return None
    return _try(
        _flagged(plan, enforce_eager=True), "--enforce-eager", "no CUDA graphs, slower decode"
    )


def _without_towers(plan: Plan) -> Advice | None:
    if not (plan.towers.vision or plan.towers.audio):
        return None
    towers = Towers(vision=False, audio=False, wrapper=plan.towers.wrapper)
    return _try(
        _flagged(replace(plan, towers=towers), language_model_only=True),
        "--language-model-only",
        "no images or sound",
    )


def _offload(plan: Plan) -> Advice | None:
    if plan.card.platform != "cuda":
        return None
    low, high = int(plan.flags.cpu_offload_gb) + 1, HOST_GIB
    for size in range(low, high + 1):
        found = _try(_flagged(plan, cpu_offload_gb=float(size)), f"--cpu-offload-gb {size}", SLOW)
        if found:
            return found
    return None


def _smaller_precision(plan: Plan) -> Advice | None:
    for name in ("fp8", "w4a16"):
        kind = precision(name)
        if kind.bits < plan.kind.bits:
            found = _try(replace(plan, kind=kind), f"the {name} checkpoint of {plan.arch.name}")
            if found:
                return found
    return None


def _more_devices(plan: Plan) -> Advice | None:
    for count in (2, 4, 8):
        if count <= plan.count or plan.arch.q_heads % count:
            continue
        if plan.card.topologies and count not in plan.card.topologies:
            continue
        found = _try(
            replace(plan, tp=count, count=count),
            f"{count} × {plan.card.name} with --tensor-parallel-size {count}",
        )
        if found:
            return found
    return None


def _smaller_model(plan: Plan) -> Advice | None:
    smaller = [model(name) for name in model_names()]
    for arch in sorted(smaller, key=lambda arch: -arch.total):
        if arch.total >= plan.arch.total or plan.length > arch.context:
            continue
        towers = Towers(
            arch.multimodal and plan.towers.vision, plan.towers.audio, plan.towers.wrapper
        )
        missing = table("models")["models"][arch.name].get("qat_missing")
        found = _try(
            replace(plan, arch=arch, towers=towers),
            f"{arch.name} in {plan.kind.name} on the same accelerator",
            str(missing) if missing and plan.kind.name == "w4a16" else "",
        )
        if found:
            return found
    return None


def _larger_card(plan: Plan) -> Advice | None:
    known = [accelerator(name) for name in accelerator_names(google=True)]
    larger = [card for card in known if card.usable > plan.card.usable]
    priced = [(usual(card.name), card) for card in larger]
    for offer, card in sorted(
        priced, key=lambda pair: pair[0].usd_per_hour if pair[0] else float("inf")
    ):
        if card.topologies and plan.count not in card.topologies:
            continue
        flags = plan.flags
        batched = flags.max_num_batched_tokens or max(
            card.default_batched_tokens,
            LARGEST_ITEM if needs_whole_items(plan.arch, plan.towers, card) else 0,
        )
        found = _try(
            replace(
                plan,
                card=card,
                batched_tokens=batched,
                sequences=flags.max_num_seqs or min(card.default_sequences, batched),
            ),
            f"{plan.count} × {card.name} in place of {plan.card.name}",
            "" if offer else "no price known",
        )
        if found:
            return found
    return None


def _supported(plan: Plan) -> Advice | None:
    if plan.kv_type != "auto":
        kind = "fp8" if not plan.card.lacks((8, 9)) and not plan.card.tpu else "auto"
        fixed = replace(plan, kv_type=kind, flags=replace(plan.flags, kv_cache_dtype=kind))
        if found := _try(fixed, f"--kv-cache-dtype {kind}"):
            return found
    batched = plan.flags.max_num_batched_tokens
    if batched and batched < LARGEST_ITEM:
        fixed = _flagged(
            replace(plan, batched_tokens=LARGEST_ITEM), max_num_batched_tokens=LARGEST_ITEM
        )
        if found := _try(fixed, f"--max-num-batched-tokens {LARGEST_ITEM}"):
            return found
    if plan.flags.gpu_memory_utilization > 0.95:
        lower = _flagged(plan, gpu_memory_utilization=0.95)
        if found := _try(lower, "--gpu-memory-utilization 0.95"):
            return found
    if plan.card.tpu and plan.kind.quantised:
        return _try(replace(plan, kind=precision("bf16")), "the bf16 checkpoint")
    return None


def _useless(result: FitResult) -> Iterator[Advice]:
    # Said because people try these first. Each is computed, not asserted.
    from tools.sizing.fit import Advice, evaluate

    plan = result.plan
    if result.outcome == "unsupported":
        return
    room = plan.card.usable_gib
    tries = [
        ("--gpu-memory-utilization", _flagged(plan, gpu_memory_utilization=0.85)),
        ("--gpu-memory-utilization 0.95", _flagged(plan, gpu_memory_utilization=0.95)),
        ("--max-model-len", replace(plan, length=512)),
        ("--enforce-eager", _flagged(plan, enforce_eager=True)),
        ("--kv-cache-dtype fp8", replace(plan, kv_type="fp8")),
        ("--max-num-seqs 1", replace(plan, sequences=1)),
    ]
    peak = result.memory.load_peak / GIB
    seen = set()
    for change, changed in tries:
        name = change.split()[0]
        outcome = evaluate(changed).outcome
        if outcome == "fits" or name in seen:
            continue
        seen.add(name)
        why = (
            f"can't help: loading alone needs {peak:.2f} GiB of {room:.2f} GiB"
            if result.outcome == "oom_at_load"
            else "can't help alone"
        )
        yield Advice(name, why, outcome)
    missing = ceil((result.memory.load_peak - plan.card.usable) / GIB)
    if result.outcome == "oom_at_load" and missing > HOST_GIB:
        yield Advice(
            "--cpu-offload-gb", f"{missing} GiB would have to leave the card", "oom_at_load"
        )
