"""vLLM versions, and what changed between them that a size depends on."""

from __future__ import annotations

import re

from tools.errors import UsageError

LATEST = "0.32.0"
Version = tuple[int, int]

_FORM = re.compile(r"v?(\d+)\.(\d+)(?:\.\d+)?(?:[.\-+]?(?:rc|dev|post|a|b)?[\w.+]*)?")

# "GPU KV cache size" became int(maximum concurrency × max_model_len); before it was
# num_blocks // groups × block_size. Source: vllm issue #43308 (0.20.0 against 0.21.0).
CAPACITY_BY_CONCURRENCY: Version = (0, 21)
# CUDA graphs are counted against the budget by default. Source: vllm 0.21 release,
# VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS.
GRAPHS_COUNTED: Version = (0, 21)
# The sliding window's admission cap counts every batch in flight: two with async scheduling.
# Source: vllm PR #47728 (July 2026), first seen in boot logs of 0.26.
TWO_IN_FLIGHT: Version = (0, 26)
# KV-shared layers stopped allocating K/V projections that nothing reads. Source: vllm 0.32.0
# gemma4.py:397-420; boots of 0.31.1rc1 still hold them.
NO_DEAD_KV: Version = (0, 32)


def parse(text: str) -> Version:
    """Return (major, minor) of a vLLM version such as ``v0.31.1rc1``.

    Raises UsageError when it is none.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise UsageError(
            f"{text!r} is no vLLM version.", fix=f"Write it like {LATEST} or v0.22.1, as /version."
        )
    return int(found[1]), int(found[2])
