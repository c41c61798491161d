"""A device's memory as a line of text: weights, load peak, overhead, KV cache, what is free."""

from __future__ import annotations

from tools.sizing.accelerators import GIB
from tools.sizing.fit import FitResult

# What is what must show without colour: one letter a part.
PARTS = (("weights", "W"), ("load peak", "L"), ("overhead", "o"), ("KV cache", "K"), ("free", "·"))
OVER = "!"


def segments(result: FitResult) -> tuple[tuple[str, int], ...]:
    """Return (part, bytes) from left to right; together they are the device, or more than it.

    ``over`` is what does not fit. The load peak is shown only when it is what breaks.
    """
    parts, card = result.memory, result.plan.card.usable
    found = [("weights", parts.resident)]
    if result.outcome == "oom_at_load":
        found.append(("load peak", parts.load_peak - parts.resident))
    else:
        found.append(("overhead", max(parts.overhead.expected, 0)))
        found.append(("KV cache", max(parts.kv.expected, 0)))
    used = sum(size for _, size in found)
    if used > card:
        return (*_cut(found, card), ("over", used - card))
    return (*found, ("free", card - used))


def memory_bar(result: FitResult, width: int = 60) -> str:
    """Return a bar of ``width`` cells and its legend below, such as ``[WWWWoKKKK··]``."""
    width = max(width, 10)
    shown = segments(result)
    card = result.plan.card.usable
    letters = dict(PARTS)
    cells = ""
    reached = 0
    for name, size in shown:
        if name == "over":
            continue
        reached += size
        until = round(min(reached, card) / card * width)
        cells += letters[name] * (until - len(cells))
    cells = cells.ljust(width, letters["free"])
    over = dict(shown).get("over", 0)
    legend = "  ".join(
        f"{OVER if name == 'over' else letters[name]} {name} {size / GIB:.2f}"
        for name, size in shown
        if size
    )
    total = f"of {card / GIB:.2f} GiB"
    return f"[{cells}]{OVER * 3 if over > 0 else ''}\n{legend}  ({total})"


def _cut(found: list[tuple[str, int]], card: int) -> list[tuple[str, int]]:
    # What stands beyond the card's end is counted once, as "over".
    kept: list[tuple[str, int]] = []
    left = card
    for name, size in found:
        kept.append((name, min(size, left)))
        left -= min(size, left)
    return kept
