"""Bytes that the weights take on one device, and the peak while they load.

What vLLM logs as "Model loading took X GiB" is what torch holds after loading: parameters and
buffers (vllm 0.32.0, utils/mem_utils.py DeviceMemoryProfiler over platforms/cuda.py
get_current_memory_usage, which is torch.cuda.max_memory_allocated after a reset).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from tools.sizing.accelerators import Platform
from tools.sizing.architecture import Architecture, Shape
from tools.sizing.precision import Precision
from tools.sizing.version import NO_DEAD_KV, Version

MIB = 2**20
HALF = 2  # bytes of a bfloat16 or float16


@dataclass(frozen=True)
class Towers:
    """What of the multimodal parts is there. ``wrapper``: the multimodal model class serves."""

    vision: bool = True
    audio: bool = True
    wrapper: bool = True


@dataclass(frozen=True)
class Weights:
    """Bytes on one device after loading, by class, and what loading needs at its peak.

    ``load_extra`` is what is allocated beside the weights before it is freed again.
    """

    parts: tuple[tuple[str, int], ...]
    load_extra: int
    offloaded: int = 0

    @property
    def resident(self) -> int:
        """Return the bytes that stay on the device."""
        return sum(size for _, size in self.parts) - self.offloaded

    @property
    def load_peak(self) -> int:
        """Return the most that loading holds at once, in bytes."""
        return self.resident + self.load_extra

    def part(self, name: str) -> int:
        """Return the bytes of one class, 0 if it has none."""
        return dict(self.parts).get(name, 0)


@lru_cache(maxsize=4096)
def weights(
    arch: Architecture,
    kind: Precision,
    *,
    tp: int = 1,
    towers: Towers,
    version: Version,
    platform: Platform = "cuda",
    batched_tokens: int = 2048,
    offload: int = 0,
) -> Weights:
    """Return what one device holds of the model.

    ``offload`` is --cpu-offload-gb in bytes: decoder layers only, parameter by parameter until
    the budget is spent (vllm 0.32.0 model_executor/offloader/uva.py:74-128, reached through
    models/utils.py make_layers); the embedding and the lm_head are never moved.
    """
    tpu = platform == "tpu"
    parts: dict[str, int] = {}
    layer_bytes: list[tuple[int, list[int]]] = []
    for count, shapes in arch.linears():
        sizes = []
        for shape in shapes:
            size = _linear(shape, kind, tp, exact=tpu)
            name = "per-layer projections" if shape.kind == "ple" else shape.kind
            parts[name] = parts.get(name, 0) + count * size
            sizes.append(size)
        layer_bytes.append((count, sizes))
    if tpu or version < NO_DEAD_KV:
        parts["unused K/V of shared layers"] = _dead(arch, kind, tp)
    embedding = arch.embedding * HALF // tp
    parts["embedding"] = embedding
    if not arch.tied:
        parts["lm_head"] = embedding
    parts["per-layer table"] = arch.ple_table * HALF // tp
    parts["per-layer projections"] = (
        parts.get("per-layer projections", 0) + arch.ple_model_projection * HALF // tp
    )
    parts["norms, router, scalars"] = arch.other * HALF
    if towers.vision:
        parts["vision"] = (arch.vision + arch.mm_embed_vision) * HALF
    if towers.audio and platform == "cuda":
        # Boots on TPU and ROCm hold what remains without it; see docs/sizing.md.
        parts["audio"] = (arch.audio + arch.mm_embed_audio) * HALF
    if not tpu:
        parts["rotary tables"] = arch.context * (arch.head_dim + arch.global_head_dim) * HALF
        if arch.ple and towers.wrapper:
            # vllm 0.32.0 gemma4_mm.py:1148, a buffer for CUDA graphs.
            parts["per-layer buffer"] = batched_tokens * arch.layers * arch.ple * HALF
    return Weights(
        parts=tuple((name, size) for name, size in parts.items() if size),
        # gemma4.py:1447-1454 allocates lm_head and then ties it to the embedding.
        load_extra=embedding if arch.tied and not tpu else 0,
        offloaded=0 if tpu else _offloaded(layer_bytes, offload),
    )


def _linear(shape: Shape, kind: Precision, tp: int, *, exact: bool) -> int:
    rows, columns = shape.rows, shape.columns
    if shape.cut == "rows":
        # A rank holds at least one KV head: with more ranks than heads they are copied.
        kept = shape.kv_rows // shape.heads * max(1, shape.heads // tp) if shape.kv_rows else 0
        rows = (shape.rows - shape.kv_rows) // tp + kept
    elif shape.cut == "columns":
        columns //= tp
    bits = kind.attention_bits if shape.kind == "attention" else kind.bits
    numbers = rows * columns * shape.copies
    if bits >= 16:
        return numbers * HALF if exact else allocated(numbers * HALF)
    whole = {8.0: 8.0}.get(bits, 4.0)
    packed, scales = ceil(numbers * whole / 8), ceil(numbers * (bits - whole) / 8)
    scales += rows * shape.copies * kind.row_bytes
    return packed + scales if exact else allocated(packed) + allocated(scales)


def allocated(size: int) -> int:
    """Return what torch's caching allocator counts for a request of ``size`` bytes.

    A request of 10 MiB and more gets a segment rounded up to 2 MiB, whose rest is split off only
    when it is over 1 MiB (PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp: round_size,
    get_allocation_size, should_split); smaller ones are rounded to 512 bytes.
    """
    if size < 10 * MIB:
        return -(-size // 512) * 512
    segment = -(-size // (2 * MIB)) * 2 * MIB
    return segment if segment - size <= MIB else -(-size // 512) * 512


def _dead(arch: Architecture, kind: Precision, tp: int) -> int:
    heads = max(1, arch.kv_heads // tp) / arch.kv_heads if arch.kv_heads else 0
    return round(arch.dead_kv() * heads * kind.attention_bits / 8)


def _offloaded(layers: list[tuple[int, list[int]]], budget: int) -> int:
    # Whole parameters are moved while less than the budget is: the last one overshoots it.
    moved = 0
    for count, sizes in layers:
        for _ in range(count):
            for size in sizes:
                if moved >= budget:
                    return moved
                moved += size
    return moved
