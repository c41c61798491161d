"""Where a device's memory goes: weights, load peak, overhead band and KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from tools.sizing import kv
from tools.sizing.accelerators import GIB
from tools.sizing.kv import Capacity, Pool
from tools.sizing.overhead import BAND_LIMIT, CONTEXT, WEIGHT_TOLERANCE, Band, overhead
from tools.sizing.request import Plan
from tools.sizing.weights import Weights, weights

HALF = 2


@dataclass(frozen=True)
class Memory:
    """One device's memory, in bytes. ``kv`` may be negative where there is none."""

    weights: Weights
    extras: tuple[tuple[str, int], ...]  # LoRA slots, a drafter
    requested: int  # total × utilisation, rounded up (v1/worker/utils.py request_memory)
    overhead: Band
    kv: Band

    @property
    def resident(self) -> int:
        """Return weights and extras."""
        return self.weights.resident + sum(size for _, size in self.extras)

    @property
    def load_peak(self) -> int:
        """Return the most that loading holds at once."""
        return self.resident + self.weights.load_extra


def memory(plan: Plan) -> Memory:
    """Return where the memory of one device goes.

    Source of the sum: vllm 0.32.0 v1/worker/gpu_worker.py determine_available_memory; on a TPU
    KV = utilisation × total - weights (tpu_inference).
    """
    held = weights(
        plan.arch,
        plan.kind,
        tp=plan.tp,
        towers=plan.towers,
        version=plan.version,
        platform=plan.card.platform,
        batched_tokens=plan.batched_tokens,
        offload=plan.offload,
    )
    held = _as_stored(held, plan)
    extras = _extras(plan)
    requested = ceil(plan.card.usable * plan.flags.gpu_memory_utilization)
    taken = overhead(
        plan.arch,
        plan.card,
        tp=plan.tp,
        batched_tokens=plan.batched_tokens,
        sequences=plan.sequences,
        vision=plan.towers.vision,
        eager=plan.flags.enforce_eager,
        version=plan.version,
        cold=plan.cold,
    )
    resident = held.resident + sum(size for _, size in extras)
    measured = plan.measured
    if measured and measured.kv:
        requested = measured.requested or requested
        resident = measured.weights or resident
        rest = requested - resident - measured.kv
        taken = Band(rest, rest, rest)
        left = Band(measured.kv, measured.kv, measured.kv)
    elif plan.kv_gib is not None:
        given = round(plan.kv_gib * GIB)
        left = Band(given, given, given)
    elif plan.flags.kv_cache_memory_bytes:
        given = plan.flags.kv_cache_memory_bytes
        left = Band(given, given, given)
    else:
        left = _left(requested - resident, resident, taken, plan)
    return Memory(held, extras, requested, taken, left)


def _left(room: int, resident: int, taken: Band, plan: Plan) -> Band:
    slack = 0 if plan.card.tpu else round(WEIGHT_TOLERANCE * resident)
    if plan.card.tpu:
        return Band(room, room, room)
    expected = room - taken.expected
    limit = round(BAND_LIMIT * plan.card.usable)
    low = room - slack - taken.high
    if not plan.cold:
        low = max(low, expected - limit)
    return Band(low, expected, min(room + slack - taken.low, expected + limit))


def _as_stored(held: Weights, plan: Plan) -> Weights:
    # A local folder's headers say what the tensors really take; vLLM's own buffers come on top.
    if not plan.tensor_bytes:
        return held
    buffers = [part for part in held.parts if part[0] in {"rotary tables", "per-layer buffer"}]
    return Weights(
        parts=(("checkpoint tensors", plan.tensor_bytes // plan.tp), *buffers),
        load_extra=held.load_extra,
        offloaded=held.offloaded,
    )


def _extras(plan: Plan) -> tuple[tuple[str, int], ...]:
    found = []
    if plan.flags.enable_lora:
        found.append(("LoRA slots", lora_bytes(plan)))
    if plan.flags.speculative:
        found.append(("MTP drafter", plan.arch.drafter * HALF // plan.tp))
    return tuple(found)


def lora_bytes(plan: Plan) -> int:
    """Return the bytes of --max-loras adapters of --max-lora-rank over every decoder Linear.

    An adapter holds rank × (inputs + outputs) in 16 bits for each projection; QKV and gate-up
    have one A for each of their parts (vllm 0.32.0 lora/layers/column_parallel_linear.py).
    """
    rank, total = plan.flags.max_lora_rank, 0
    for layers, shapes in plan.arch.linears():
        for shape in shapes:
            if shape.kind == "ple":
                continue
            parts = {"attention": 3 if shape.kv_rows else 1, "mlp": 2, "experts": 2}[shape.kind]
            parts = 1 if shape.cut == "columns" else parts
            total += layers * shape.copies * rank * (parts * shape.columns + shape.rows)
    return total * HALF * plan.flags.max_loras // plan.tp


def form_of(plan: Plan) -> Pool:
    """Return the form of the plan's KV pool."""
    return kv.pool(plan.arch, tp=plan.tp, kv_type=plan.kv_type, block_tokens=plan.block_tokens)


def in_flight(plan: Plan) -> int:
    """Return the tokens that may be in flight."""
    return kv.in_flight_tokens(
        plan.batched_tokens, asynchronous=plan.asynchronous, version=plan.version
    )


def spare_blocks(plan: Plan) -> int:
    """Return the blocks that the pool keeps: the null block, which 0.32 plans for.

    Source: vllm 0.32.0 v1/core/kv_cache_utils.py:1121-1137.
    """
    return 1 if plan.version >= (0, 32) else 0


def longest(plan: Plan, size: int) -> int:
    """Return the longest request that ``size`` bytes of KV memory hold, up to the model's."""
    if plan.card.tpu:
        per_token = kv.tpu_token_bytes(plan.arch, tp=plan.tp, kv_type=plan.kv_type)
        blocks = max(size, 0) // (per_token * kv.TPU_BLOCK_TOKENS)
        return min(plan.arch.context, blocks * kv.TPU_BLOCK_TOKENS)
    return kv.longest(
        form_of(plan),
        size,
        limit=plan.arch.context,
        in_flight=in_flight(plan),
        spare_blocks=spare_blocks(plan),
    )


def capacity_of(plan: Plan, size: int, length: int) -> Capacity:
    """Return what ``size`` bytes of KV memory hold at ``length`` tokens a request."""
    if plan.card.tpu:
        return kv.tpu_capacity(plan.arch, size, tp=plan.tp, kv_type=plan.kv_type, length=length)
    return kv.capacity(
        form_of(plan),
        size,
        length=length,
        in_flight=in_flight(plan),
        version=plan.version,
        blocks=plan.flags.num_gpu_blocks_override,
    )


def block_bytes(plan: Plan) -> int:
    """Return the bytes of one KV block on one device."""
    if plan.card.tpu:
        per_token = kv.tpu_token_bytes(plan.arch, tp=plan.tp, kv_type=plan.kv_type)
        return per_token * kv.TPU_BLOCK_TOKENS
    return form_of(plan).block_bytes


__all__ = ["CONTEXT", "Memory", "capacity_of", "longest", "memory"]
