"""What fit and cost found, as lines of text."""

from __future__ import annotations

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    from tools.sizing.cost import CostResult
    from tools.sizing.fit import FitResult

BAR_WIDTH = 60


def fit_text(result: FitResult, *, sources: bool = True) -> list[str]:
    """Return whether it fits as lines: the word, the bar, the reasons, the advice."""
    from tools.sizing.bar import memory_bar

    word = "fits" if result.fits else result.outcome.replace("_", " ")
    lines = [word, memory_bar(result, BAR_WIDTH), "", *result.explanation]
    lines.append(f"Decoding: at most {result.ceiling:.1f} tokens/s for one request.")
    if result.offer and result.usd_per_hour:
        lines.append(
            f"Price: {result.usd_per_hour:.2f} USD an hour ({result.offer.where}, "
            f"{result.offer.day})."
        )
    helping = [one for one in result.advice if one.outcome == "fits"]
    useless = [one for one in result.advice if one.outcome != "fits"]
    if helping:
        lines += ["", "What makes it fit, computed again:" if not result.fits else "To start:"]
        lines += [f"  {one.change}: {one.effect}" for one in helping]
    if useless:
        lines += ["", "What does not help:"]
        lines += [f"  {one.change}: {one.effect} ({one.outcome})" for one in useless]
    if sources:
        lines += ["", "Sources:", *(f"  {source}" for source in result.sources)]
    return lines


def cost_text(result: CostResult) -> list[str]:
    """Return what a deployment costs as lines."""
    lines = [
        f"{one.offer.kind:<11} {one.hour:>8.2f} USD/h {one.month:>9,.0f} USD/month "
        f"{one.million_tokens:>8.2f} USD/M tokens  {one.offer.where}, {one.offer.region} "
        f"({one.offer.day})"
        for one in result.offers
    ]
    lines += ["", "Cold start:"]
    lines += [
        f"  {phase.name}: {phase.low:.0f} s"
        + ("" if phase.low == phase.high else f" to {phase.high:.0f} s")
        + (f" (measured, {phase.starts} start{'s'[: phase.starts - 1]})" if phase.measured else "")
        for phase in result.cold_start
    ]
    return [*lines, "", *result.explanation]
