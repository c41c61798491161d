"""Figures of other programs in our own shape: what they do not tell is NaN, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tools.load.statistics import Distribution
from tools.load.summary import CellSummary

Partial = Mapping[str, float | None]


def make_summary(
    *,
    seconds: float,
    attempted: int,
    succeeded: int,
    requests_per_s: float,
    output_tokens_per_s: float,
    prompt_tokens_per_s: float = 0.0,
    ttft: Partial | None = None,
    tpot: Partial | None = None,
    gap: Partial | None = None,
    e2e: Partial | None = None,
    held: float = math.nan,
    notes: Sequence[str] = (),
) -> CellSummary:
    """Return a summary with these figures; times in milliseconds, rates in a second.

    The client's CPU is not known of other programs, so validity is not judged.
    """
    return CellSummary(
        seconds=seconds,
        attempted=attempted,
        succeeded=succeeded,
        stopped=0,
        failures={"not told": attempted - succeeded} if attempted > succeeded else {},
        ttft=distribution(ttft, succeeded),
        ttft_scheduled=None,
        ttft_reasoning=None,
        ttft_content=None,
        chunk_gap=distribution(gap, succeeded),
        tpot=distribution(tpot, succeeded),
        e2e=distribution(e2e, succeeded),
        tokens_per_chunk=None,
        requests_per_s=requests_per_s,
        output_tokens_per_s=output_tokens_per_s,
        prompt_tokens_per_s=prompt_tokens_per_s,
        good=None,
        goodput_per_s=None,
        goodput_share=None,
        concurrency_held=held,
        send_delay_p99=None,
        client_cpu=math.nan,
        processes=1,
        notes=tuple(notes),
    )


def distribution(told: Partial | None, count: int) -> Distribution | None:
    """Return a distribution of which only some figures are known; None where none is."""
    values = {key: value for key, value in (told or {}).items() if value is not None}
    if not values:
        return None

    def of(name: str) -> float:
        return float(values.get(name, math.nan))

    return Distribution(
        count=count,
        mean=of("mean"),
        p50=of("p50"),
        p90=of("p90"),
        p95=of("p95"),
        p99=of("p99"),
        low=of("low"),
        high=of("high"),
    )
