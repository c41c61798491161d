"""How many bits a weight takes, by precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tools.sizing.tables import find, plain, table


@dataclass(frozen=True)
class Precision:
    """Bits of a decoder Linear's weight, its scales included; what else there is stays 16 bit."""

    name: str
    bits: float
    attention_bits: float
    row_bytes: int = 0  # per output row: per-channel scales
    flops: str = "bf16"
    hub_suffix: str = ""
    source: str = ""

    @property
    def quantised(self) -> bool:
        """Return whether the decoder's Linears take fewer than 16 bits."""
        return self.bits < 16


@cache
def precision(name: str) -> Precision:
    """Return the precision that ``name`` means.

    Raises UsageError with the nearest names when there is none.
    """
    rows = table("models")["precisions"]
    key = find("precision", name, {key: row.get("aliases", ()) for key, row in rows.items()})
    row = rows[key]
    return Precision(
        name=key,
        bits=row["bits"],
        attention_bits=row.get("attention_bits", row["bits"]),
        row_bytes=row.get("row_bytes", 0),
        flops=row["flops"],
        hub_suffix=row.get("hub_suffix", ""),
        source=row["source"],
    )


def precision_of_name(name: str) -> str:
    """Return the precision that a checkpoint's name says, or ``bf16``.

    Only whole parts of the name count: the ``ct`` of ``instruct`` is not ``-ct``.
    """
    rows = table("models")["precisions"]
    parts = {plain(part) for part in name.replace("/", "-").replace("_", "-").split("-")}
    if "w4a16" in parts or {"qat", "q4"} & parts:
        return "w4a16"
    for key, row in rows.items():
        words = {plain(key), *(plain(alias) for alias in row.get("aliases", ()))}
        if key != "bf16" and words & parts:
            return str(key)
    return "bf16"
