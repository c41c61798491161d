"""What a start takes beside weights and KV cache: a band, because only the machine knows.

vLLM subtracts the peak of a profiling run (activations or the sampler's logits, whichever is
larger), what is not torch's (CUDA context growth, NCCL), and since 0.21 the CUDA graphs
(vllm 0.32.0 v1/worker/gpu_worker.py:634-760). The shapes are known and the kernels' workspaces
are not, so `expected` counts the tensors, `low` a quarter of them and `high` twice that and more.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.sizing.accelerators import GIB, Accelerator
from tools.sizing.architecture import Architecture
from tools.sizing.version import GRAPHS_COUNTED, Version

CONTEXT = round(0.30 * GIB)  # CUDA context beside torch: 19.81 GiB in use, 19.5 of them tensors
BASE = round(0.15 * GIB)  # growth outside torch between the two snapshots
GRAPH_PER_LAYER = round(0.004 * GIB)
COLLECTIVES = round(0.30 * GIB)  # NCCL and custom all-reduce buffers, tp > 1
# Per sequence and vocabulary entry: bf16 logits, an fp32 copy, and part of the sampler's.
LOGIT_BYTES = 8
ROCM_LOGIT_BYTES = 24  # the native top-k/top-p sorts: values and 64-bit indices as well
# A cold torch.compile can be counted as activation: 4.67 against 0.31 GiB on an E2B and a T4
# (xbill9/gemma4-dev QUANTIZATION.md). A second start with a warm cache does not pay it.
COLD_COMPILE = round(4.4 * GIB)
# How far a checkpoint's weights may lie from the computed ones; see docs/sizing.md.
WEIGHT_TOLERANCE = 0.015
BAND_LIMIT = 0.12  # of the card, to either side


@dataclass(frozen=True)
class Band:
    """A low, an expected and a high value, in bytes."""

    low: int
    expected: int
    high: int

    def clamped(self) -> Band:
        """Return the band with nothing below 0: memory that is not there is none."""
        return Band(max(self.low, 0), max(self.expected, 0), max(self.high, 0))

    def gib(self) -> dict[str, float]:
        """Return the band in GiB, as JSON has it."""
        return {
            "low": round(self.low / GIB, 3),
            "expected": round(self.expected / GIB, 3),
            "high": round(self.high / GIB, 3),
        }


def overhead(
    arch: Architecture,
    card: Accelerator,
    *,
    tp: int,
    batched_tokens: int,
    sequences: int,
    vision: bool,
    eager: bool,
    version: Version,
    cold: bool = False,
) -> Band:
    """Return the band of bytes that profiling will find beside the weights; 0 on a TPU.

    A TPU takes no activations off its budget: compiled programs live outside of it
    (tpu_inference; v5e at utilisation 0.95 sizes well and then dies).
    """
    if card.tpu:
        return Band(0, 0, 0)
    work = max(
        activations(arch, batched_tokens, tp),
        sequences
        * arch.vocabulary
        * (ROCM_LOGIT_BYTES if card.platform == "rocm" else LOGIT_BYTES),
    )
    fixed = BASE + (COLLECTIVES if tp > 1 else 0)
    graphs = arch.layers * GRAPH_PER_LAYER if not eager and version >= GRAPHS_COUNTED else 0
    images = 2 * batched_tokens * arch.hidden * 2 if vision else 0
    expected = fixed + work + graphs + images
    low = fixed // 3 + work // 4
    high = round(2.2 * expected + 0.5 * GIB + 0.02 * card.usable)
    limit = round(BAND_LIMIT * card.usable)
    band = Band(max(low, expected - limit), expected, min(high, expected + limit))
    if cold and not eager:
        return Band(band.low, band.expected, band.high + COLD_COMPILE)
    return band


def activations(arch: Architecture, tokens: int, tp: int) -> int:
    """Return the bytes of the widest point of one layer's forward pass over ``tokens``.

    The residual stream and its norms (six of hidden), QKV, and gate, up and their product; an
    expert layer's buffers hold every chosen expert's rows.
    """
    inner = 3 * arch.intermediate * (2 if arch.double_wide_shared else 1) // tp
    query = arch.q_heads * (arch.global_head_dim if arch.full else arch.head_dim) // tp
    chosen = arch.experts_per_token * (3 * arch.expert_intermediate // tp + arch.hidden)
    return tokens * (6 * arch.hidden + query + max(inner, chosen)) * 2
