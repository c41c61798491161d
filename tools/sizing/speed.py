"""Speed limits that physics sets: no measurement can beat them, and most stay well below."""

from __future__ import annotations

from dataclasses import dataclass

from tools.sizing import kv
from tools.sizing.architecture import Architecture
from tools.sizing.memory import memory
from tools.sizing.precision import Precision
from tools.sizing.request import Plan

HALF = 2
# Two operations a weight and token: a multiplication and an addition.
OPERATIONS = 2


@dataclass(frozen=True)
class Ceiling:
    """The most tokens a second at a batch size, and what bounds it."""

    tokens_per_s: float
    bound: str  # "memory bandwidth" | "compute" | "PCIe"
    bytes_per_step: float


def step_bytes(arch: Architecture, kind: Precision, batch: int = 1) -> float:
    """Return the bytes of weights that one decoding step of ``batch`` tokens reads.

    Of a mixture of experts every distinct chosen expert is read once: with a uniform router,
    experts × (1 - (1 - chosen / experts) ** batch) of them are.
    """
    counts = arch.parameters()
    body = counts["mlp"] * kind.bits / 8 + counts["attention"] * kind.attention_bits / 8
    if arch.experts:
        share = 1 - (1 - arch.experts_per_token / arch.experts) ** batch
        body += counts["experts"] * share * kind.bits / 8
    rest = counts["ple"] + counts["embedding"] + counts["other"]
    return body + rest * HALF


def context_bytes(arch: Architecture, context: int, kv_type: str = "auto") -> float:
    """Return the bytes of KV that one sequence of ``context`` tokens reads a step."""
    own = (arch.sliding - arch.shared_sliding, arch.full - arch.shared_full)
    sliding = kv.head_bytes(arch.head_dim, kv_type) * arch.kv_heads * min(context, arch.window)
    full = kv.head_bytes(arch.global_head_dim, kv_type) * arch.global_kv_heads * context
    # A shared layer reads what another layer stored.
    shared = arch.shared_sliding * sliding + arch.shared_full * full
    return own[0] * sliding + own[1] * full + shared


def decode_ceiling(plan: Plan, *, batch: int = 1, context: int = 0) -> Ceiling:
    """Return the most output tokens a second for ``batch`` sequences of ``context`` tokens.

    Every device reads its share of the weights once a step, and what is offloaded comes over
    PCIe; no step is faster than its arithmetic either.
    """
    card, tp = plan.card, plan.tp
    moved = step_bytes(plan.arch, plan.kind, batch)
    read = moved + batch * context_bytes(plan.arch, context, plan.kv_type)
    offloaded = memory(plan).weights.offloaded if plan.offload else 0
    if plan.arch.experts and offloaded:
        # Offloaded experts are read as seldom as those on the card.
        offloaded = round(offloaded * min(1.0, moved / (plan.arch.total * plan.kind.bits / 8)))
    seconds = (read / tp - offloaded) / card.bandwidth
    bound = "memory bandwidth"
    if offloaded:
        seconds += offloaded / card.pcie
        bound = "PCIe"
    arithmetic = batch * OPERATIONS * plan.arch.active / tp / peak_flops(plan)
    if arithmetic > seconds:
        seconds, bound = arithmetic, "compute"
    return Ceiling(batch / seconds, bound, read)


def prefill_ceiling(plan: Plan) -> Ceiling:
    """Return the most prompt tokens a second over all devices, attention's own work left out."""
    rate = peak_flops(plan) * plan.tp / (OPERATIONS * plan.arch.active)
    return Ceiling(rate, "compute", 0.0)


def peak_flops(plan: Plan) -> float:
    """Return the device's FLOP/s for the plan's precision; it computes in 16 bits if it must."""
    flops = plan.card.flops
    return flops.get(plan.kind.flops) or flops.get("bf16") or flops["fp16"]
