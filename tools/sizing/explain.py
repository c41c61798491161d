"""The sentences that say how a size came about, each figure with what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.sizing.accelerators import GIB
from tools.sizing.kv import TPU_BLOCK_TOKENS
from tools.sizing.memory import CONTEXT, form_of, in_flight
from tools.sizing.overhead import COLD_COMPILE
from tools.sizing.request import LARGEST_ITEM
from tools.sizing.version import CAPACITY_BY_CONCURRENCY

if TYPE_CHECKING:
    from tools.sizing.fit import FitResult


def explanation(result: FitResult) -> tuple[str, ...]:
    """Return how the numbers came about, the outcome's reason first."""
    lines = [_verdict(result)]
    lines += result.refusals
    lines += _warnings(result)
    lines.append(_weights(result))
    if result.memory.weights.load_extra:
        lines.append(
            f"Loading peaks at {_gib(result.memory.load_peak)}: vLLM allocates an lm_head of "
            f"{_gib(result.memory.weights.load_extra)} before it ties it to the embedding."
        )
    lines += _kv(result)
    return tuple(lines)


def _verdict(result: FitResult) -> str:
    plan, parts = result.plan, result.memory
    what = f"{plan.arch.name} in {plan.kind.name} on {plan.count} × {plan.card.name}"
    match result.outcome:
        case "fits":
            return (
                f"{what} fits: {_gib(max(parts.kv.expected, 0))} of KV cache a device, "
                f"{result.capacity.tokens:,} tokens, {result.capacity.concurrency:.2f} requests of "
                f"{result.length:,} tokens at once."
            )
        case "oom_at_load":
            room = plan.card.usable - (0 if plan.card.tpu else CONTEXT)
            return (
                f"{what} runs out of memory while it loads: {_gib(parts.load_peak)} at the peak, "
                f"and {_gib(room)} of {_gib(plan.card.usable)} can be had."
            )
        case "no_kv_memory":
            return (
                f"{what} has no memory left for the KV cache: {_gib(parts.requested)} may be used, "
                f"{_gib(parts.resident)} are weights, about {_gib(parts.overhead.expected)} other."
            )
        case "max_model_len_too_long":
            return (
                f"{what} can't hold one request of {result.length:,} tokens: it takes "
                f"{_gib(result.need)} of KV cache, and there are about "
                f"{_gib(max(parts.kv.expected, 0))}; {result.longest:,} tokens are possible."
            )
        case _:
            return f"{what} is not served that way."


def _warnings(result: FitResult) -> list[str]:
    plan, parts, lines = result.plan, result.memory, []
    if not plan.length and result.fits and result.longest < plan.arch.context:
        lines.append(
            f"No --max-model-len was given: vLLM would take {plan.arch.context:,} and refuse. "
            f"Computed with --max-model-len auto, which finds {result.longest:,}."
        )
    if plan.raised_batch:
        lines.append(
            f"max_num_batched_tokens is {LARGEST_ITEM}, not the card's default of "
            f"{plan.card.default_batched_tokens:,}: a video must fit into one batch. vLLM 0.32 "
            "raises it by itself; older versions refuse to start without the flag."
        )
    given = plan.kv_gib is not None or plan.measured is not None
    if result.fits and not given and parts.kv.low < result.need and not plan.card.tpu:
        lines.append(
            "It fits if the overhead is as expected; at the upper end of its band it would not. "
            "A boot log of the same machine (--boot-log) settles it."
        )
    if plan.card.note:
        lines.append(f"{plan.card.name}: {plan.card.note}.")
    if plan.card.unverified:
        lines.append(f"{plan.card.name}: {', '.join(plan.card.unverified)} not verified.")
    if plan.card.tpu:
        lines.append(
            "A TPU's budget has no activations in it: compiled programs need room outside of "
            "--gpu-memory-utilization, so a value near 1 sizes well and then dies."
        )
        if plan.kind.quantised:
            lines.append(
                "Quantised weights on a TPU: some boots held up to 2.6 GiB more than this (scales "
                "and an untied lm_head); not derived."
            )
    return lines


def _weights(result: FitResult) -> str:
    parts = result.memory.weights
    shown = ", ".join(
        f"{name} {_gib(size)}" for name, size in sorted(parts.parts, key=lambda part: -part[1])[:6]
    )
    moved = (
        f", {_gib(parts.offloaded)} of decoder layers moved to the host" if parts.offloaded else ""
    )
    extra = "".join(f", {name} {_gib(size)}" for name, size in result.memory.extras)
    each = " a device" if result.plan.tp > 1 else ""
    return f"Weights{each}: {_gib(result.memory.resident)} ({shown}{extra}{moved})."


def _kv(result: FitResult) -> list[str]:
    plan, parts, lines = result.plan, result.memory, []
    if plan.measured and plan.measured.kv:
        lines.append(
            f"KV cache: {_gib(parts.kv.expected)}, measured ({plan.measured.source}); what is "
            f"neither weights nor KV took {_gib(parts.overhead.expected)}."
        )
    elif plan.kv_gib is not None:
        lines.append(f"KV cache: {_gib(parts.kv.expected)} a device, as given.")
    elif plan.card.tpu:
        lines.append(
            f"KV cache: {plan.flags.gpu_memory_utilization:g} × {_gib(plan.card.usable)} - weights "
            f"= {_gib(parts.kv.expected)} a chip."
        )
    else:
        band = parts.kv
        lines.append(
            f"KV cache: {plan.flags.gpu_memory_utilization:g} × {_gib(plan.card.usable)} - weights "
            f"- overhead ({_gib(parts.overhead.low)} to {_gib(parts.overhead.high)}) = "
            f"{_gib(band.low)} to {_gib(band.high)}, about {_gib(band.expected)}."
        )
        lines.append(
            "A cold first boot: compiling can be counted as activation, so the band is wider; "
            "restart once with a warm compile cache."
            if plan.cold
            else "The band is for a warm compile cache; a cold first boot may leave up to "
            f"{_gib(COLD_COMPILE)} less until it is restarted once."
        )
    lines.append(_tokens(result))
    return lines


def _tokens(result: FitResult) -> str:
    plan = result.plan
    if plan.card.tpu:
        return (
            f"Every layer that owns a cache holds every token: {result.block_bytes:,} bytes a "
            f"block of {TPU_BLOCK_TOKENS} tokens."
        )
    form = form_of(plan)
    sliding = sum(1 for _, window in form.groups if window)
    printed = (
        "blocks // blocks a request × max_model_len"
        if plan.version >= CAPACITY_BY_CONCURRENCY
        else "blocks // groups × block size, as versions up to 0.20 print it"
    )
    wasted = (
        " One kind's pages are padded to the other's, which wastes memory." if form.padded else ""
    )
    return (
        f"{len(form.groups)} groups ({sliding} sliding, {len(form.groups) - sliding} full) of "
        f"{form.layers_per_group} layers: {form.block_bytes:,} bytes a block; a request of "
        f"{result.length:,} tokens takes {result.capacity.request_blocks:,} blocks with "
        f"{in_flight(plan):,} tokens in flight; tokens = {printed}.{wasted}"
    )


def sources(result: FitResult) -> tuple[str, ...]:
    """Return where the formulas and constants come from."""
    plan = result.plan
    found = [
        f"model: {plan.arch.source}",
        f"precision: {plan.kind.source}",
        f"accelerator: {plan.card.source}",
    ]
    if plan.card.tpu:
        found.append("KV on TPU: tpu_inference, checked against boot logs")
    else:
        found += [
            "KV blocks: vllm 0.32.0 v1/core/kv_cache_utils.py:1292-1640, v1/kv_cache_interface.py",
            "budget: vllm 0.32.0 v1/worker/gpu_worker.py determine_available_memory",
            "load peak: vllm 0.32.0 model_executor/models/gemma4.py:1447-1454",
        ]
    if result.offer:
        found.append(f"price: {result.offer.where}, {result.offer.region}; {result.offer.source}")
    return tuple(found)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"
