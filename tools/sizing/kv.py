"""KV cache: groups of layers, blocks, and the token count that a vLLM version prints.

A port of vllm 0.32.0 v1/core/kv_cache_utils.py and v1/kv_cache_interface.py for what Gemma has:
sliding-window and full-attention layers. `benchmarks/oracle.py` compares it with vLLM's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from tools.errors import UsageError
from tools.sizing.architecture import Architecture
from tools.sizing.version import CAPACITY_BY_CONCURRENCY, TWO_IN_FLIGHT, Version

BLOCK_TOKENS = 16  # CacheConfig.DEFAULT_BLOCK_SIZE; every backend that Gemma 4 gets takes it
TPU_BLOCK_TOKENS = 32  # tpu_inference, from the printed cache shape (blocks, 32, …)

KV_TYPES = {
    "auto": "auto", "bfloat16": "auto", "float16": "auto",
    "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8",
    "fp8_per_token_head": "fp8_per_token_head",
    "int8_per_token_head": "int8_per_token_head",
    "int4_per_token_head": "int4_per_token_head",
    "nvfp4": "nvfp4", "nvfp4_4over6": "nvfp4",
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """The cache of one kind of layer on one rank: tokens a block, bytes a page, window or 0."""

    layers: int
    block_tokens: int
    page_bytes: int
    window: int = 0


@dataclass(frozen=True)
class Pool:
    """The whole cache's form; ``groups`` are (block tokens, window or 0), each a block table."""

    groups: tuple[tuple[int, int], ...]
    layers_per_group: int
    page_bytes: int
    padded: bool = False  # a page was padded to the other kind's size, so memory is wasted

    @property
    def block_bytes(self) -> int:
        """Return the bytes of one block over all the layers of its group."""
        return self.layers_per_group * self.page_bytes

    @property
    def block_tokens(self) -> int:
        """Return the tokens of the smallest block."""
        return min(tokens for tokens, _ in self.groups)

    def request_blocks(self, length: int, in_flight: int) -> int:
        """Return the blocks that one request of ``length`` tokens may hold at once.

        A sliding group keeps window - 1 tokens and those in flight, and one block more because
        the window need not begin at a block (kv_cache_interface.py:850-896).
        """
        total = 0
        for tokens, window in self.groups:
            if window:
                total += ceil(min(window - 1 + in_flight, length) / tokens) + 1
            else:
                total += ceil(length / tokens)
        return total


@dataclass(frozen=True)
class Capacity:
    """What a pool of some size holds."""

    blocks: int
    tokens: int  # as this vLLM version prints them
    concurrency: float  # requests of max_model_len at once
    request_blocks: int


def head_bytes(head_dim: int, kv_type: str) -> int:
    """Return the bytes of one token's K and V of one head.

    Sources: kv_cache_interface.py AttentionSpec.state_content_size_bytes; per-token-head types
    add an fp32 scale to each of K and V (v1/attention/backends/triton_attn.py:284-296); NVFP4
    is half a byte and an fp8 scale per 16 (utils/torch_utils.py:556).
    """
    match kv_type:
        case "auto":
            return 2 * head_dim * 2
        case "fp8":
            return 2 * head_dim
        case "fp8_per_token_head" | "int8_per_token_head":
            return 2 * head_dim + 8
        case "int4_per_token_head":
            return head_dim + 8
        case "nvfp4":
            return 2 * (head_dim // 2 + head_dim // 16)
    raise UsageError(
        f"The KV cache type {kv_type!r} is not sized here.", fix=f"Known: {', '.join(KV_TYPES)}."
    )


def kv_type_of(flag: str) -> str:
    """Return the kind of KV cache that a --kv-cache-dtype names.

    Raises UsageError for one that Gemma 4 has no use of.
    """
    try:
        return KV_TYPES[flag]
    except KeyError:
        raise UsageError(
            f"--kv-cache-dtype {flag!r} is not sized here.", fix=f"Known: {', '.join(KV_TYPES)}."
        ) from None


@lru_cache(maxsize=1024)
def pool(
    arch: Architecture, *, tp: int = 1, kv_type: str = "auto", block_tokens: int = BLOCK_TOKENS
) -> Pool:
    """Return the form of the cache on one rank; layers that share another's KV own none."""
    specs = []
    for layers, heads, dim, window in (
        (arch.sliding - arch.shared_sliding, arch.kv_heads, arch.head_dim, arch.window),
        (arch.full - arch.shared_full, arch.global_kv_heads, arch.global_head_dim, 0),
    ):
        if layers:
            page = max(1, heads // tp) * head_bytes(dim, kv_type) * block_tokens
            specs.append(Spec(layers, block_tokens, page, window))
    return pool_of(tuple(specs))


def pool_of(specs: tuple[Spec, ...]) -> Pool:
    """Group layers as vLLM does: one page size for all, and groups of equally many layers.

    A smaller page gets a larger block when it divides the largest, else it is padded to it
    (kv_cache_utils.py:1292-1355). A group has as many layers as the rarest kind, unless the
    commonest has under 1.5 times as many (1362-1503).
    """
    page = max(spec.page_bytes for spec in specs)
    fewest = min(spec.layers for spec in specs)
    most = max(spec.layers for spec in specs)
    size = most if most < fewest * 1.5 else fewest
    groups: list[tuple[int, int]] = []
    padded = False
    for spec in specs:
        divides = page % spec.page_bytes == 0
        padded = padded or not divides
        tokens = spec.block_tokens * (page // spec.page_bytes if divides else 1)
        groups += [(tokens, spec.window)] * ceil(spec.layers / size)
    return Pool(tuple(groups), size, page, padded)


def in_flight_tokens(batched_tokens: int, *, asynchronous: bool, version: Version) -> int:
    """Return the tokens that may be scheduled and not yet settled.

    Source: vllm 0.32.0 config/vllm.py:577-598; one batch before 0.26 (PR #47728).
    """
    return batched_tokens * (2 if asynchronous and version >= TWO_IN_FLIGHT else 1)


def capacity(
    form: Pool,
    memory: int,
    *,
    length: int,
    in_flight: int,
    version: Version,
    blocks: int = 0,
) -> Capacity:
    """Return what ``memory`` bytes hold; ``blocks`` overrides the number (0: derived).

    Sources: kv_cache_utils.py:1195-1227 and 2300-2335; up to 0.20 the printed tokens were
    num_blocks // number of groups × the smallest block (vllm issue #43308).
    """
    count = blocks or max(memory, 0) // form.block_bytes
    needed = form.request_blocks(length, in_flight)
    concurrency = count / needed
    if version >= CAPACITY_BY_CONCURRENCY:
        tokens = int(concurrency * length)
    else:
        tokens = count // len(form.groups) * form.block_tokens
    return Capacity(count, tokens, concurrency, needed)


def longest(form: Pool, memory: int, *, limit: int, in_flight: int, spare_blocks: int = 0) -> int:
    """Return the longest request in tokens that ``memory`` bytes hold, at most ``limit``.

    ``spare_blocks`` are blocks that the pool keeps for itself.
    """
    count = max(memory, 0) // form.block_bytes - spare_blocks
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if form.request_blocks(middle, in_flight) <= count:
            low = middle
        else:
            high = middle - 1
    return low


@lru_cache(maxsize=1024)
def tpu_token_bytes(arch: Architecture, *, tp: int = 1, kv_type: str = "auto") -> int:
    """Return the bytes of one token's KV on one TPU chip, every owning layer at full length.

    K and V lie side by side, packed into 32-bit words: with one KV head, fp8 takes as much as
    bfloat16. Source: tpu_inference's printed cache shapes, checked against boot logs.
    """
    item = 1 if kv_type != "auto" else 2
    word = 4 // item
    total = 0
    for layers, heads, dim in (
        (arch.sliding - arch.shared_sliding, arch.kv_heads, arch.head_dim),
        (arch.full - arch.shared_full, arch.global_kv_heads, arch.global_head_dim),
    ):
        rows = -(-2 * max(1, heads // tp) // word) * word
        total += layers * rows * dim * item
    return total


def tpu_capacity(
    arch: Architecture, memory: int, *, tp: int, kv_type: str, length: int
) -> Capacity:
    """Return what ``memory`` bytes of a chip hold: one group, no saving for sliding windows."""
    block = tpu_token_bytes(arch, tp=tp, kv_type=kv_type) * TPU_BLOCK_TOKENS
    count = max(memory, 0) // block
    needed = ceil(length / TPU_BLOCK_TOKENS)
    return Capacity(count, count * TPU_BLOCK_TOKENS, count / needed, needed)
