"""Accelerators: what their runtime reports, how fast they are, and what they can't do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from tools.sizing.tables import find, table

GIB = 2**30
Platform = Literal["cuda", "rocm", "tpu"]


@dataclass(frozen=True)
class Accelerator:
    """One device. ``usable`` is in bytes, bandwidths in bytes a second, FLOPs in FLOP/s."""

    name: str
    usable: int
    bandwidth: float
    flops: Mapping[str, float]
    platform: Platform = "cuda"
    capability: tuple[int, int] = (0, 0)  # compute capability; (0, 0) off CUDA
    pcie: float = 31.5e9  # host to device
    a100: bool = False
    topologies: tuple[int, ...] = ()  # chip counts that are sold; () is any
    batched_tokens: int = 0  # vLLM's default for this TPU generation
    google: bool = True
    offered: str = ""
    note: str = ""
    source: str = ""
    unverified: tuple[str, ...] = field(default=())

    @property
    def usable_gib(self) -> float:
        """Return the usable memory in GiB."""
        return self.usable / GIB

    @property
    def tpu(self) -> bool:
        """Return whether this is a TPU chip."""
        return self.platform == "tpu"

    @property
    def default_batched_tokens(self) -> int:
        """Return vLLM's default max_num_batched_tokens for its API server.

        Source: vllm 0.32.0, engine/arg_utils.py:2923-2976.
        """
        if self.batched_tokens:
            return self.batched_tokens
        if self.usable >= 160 * GIB:
            return 16384
        return 8192 if self.usable >= 70 * GIB and not self.a100 else 2048

    @property
    def default_sequences(self) -> int:
        """Return vLLM's default max_num_seqs for its API server (same source)."""
        return 1024 if self.usable >= 70 * GIB and not self.a100 and not self.tpu else 256

    def lacks(self, capability: tuple[int, int]) -> bool:
        """Return whether this is an NVIDIA card below a compute capability."""
        return self.platform == "cuda" and self.capability < capability


@cache
def accelerator(name: str) -> Accelerator:
    """Return the accelerator that ``name`` means.

    Raises UsageError with the nearest names when there is none.
    """
    rows = table("accelerators")["accelerators"]
    key = find("accelerator", name, {key: row.get("aliases", ()) for key, row in rows.items()})
    row = rows[key]
    major, _, minor = str(row.get("capability", "0.0")).partition(".")
    return Accelerator(
        name=key,
        usable=round(row["usable_gib"] * GIB),
        bandwidth=row["bandwidth_gbps"] * 1e9,
        flops={kind: value * 1e12 for kind, value in row["tflops"].items()},
        platform=row.get("platform", "cuda"),
        capability=(int(major), int(minor)) if row.get("platform", "cuda") == "cuda" else (0, 0),
        pcie=row.get("pcie_gbps", 31.5) * 1e9,
        a100=row.get("a100", False),
        topologies=tuple(row.get("topologies", row.get("counts", ()))),
        batched_tokens=row.get("batched_tokens", 0),
        google=row.get("google", True),
        offered=row.get("offered", ""),
        note=row.get("note", ""),
        source=row["source"],
        unverified=tuple(
            what for what in ("usable", "flops") if not row.get(f"{what}_verified", True)
        ),
    )


@cache
def accelerator_names(*, google: bool = False) -> tuple[str, ...]:
    """Return the names of all accelerators, or of those that Google Cloud offers."""
    rows = table("accelerators")["accelerators"]
    return tuple(key for key, row in rows.items() if row.get("google", True) or not google)
