"""Align points of a series to periods, as Cloud Monitoring's aligners do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tools.simulator.status import Refusal, invalid


@dataclass(frozen=True, slots=True)
class Sample:
    """A value at a time; a distribution is its count and mean, with count 0 for a plain number."""

    time: datetime
    value: float
    count: int = 0


#: Metric kinds and value types on which each aligner works (Aggregation.Aligner in common.proto
#: of google-cloud-monitoring 2.32.0).
_PERCENTILES = {
    "ALIGN_PERCENTILE_99",
    "ALIGN_PERCENTILE_95",
    "ALIGN_PERCENTILE_50",
    "ALIGN_PERCENTILE_05",
}
_NUMERIC = {"ALIGN_MEAN", "ALIGN_MIN", "ALIGN_MAX", "ALIGN_SUM", "ALIGN_COUNT"}
_KNOWN = _PERCENTILES | _NUMERIC | {"ALIGN_NONE", "ALIGN_RATE", "ALIGN_DELTA", "ALIGN_NEXT_OLDER"}


def check_aligner(aligner: str, period: float, kind: str, value_type: str) -> None:
    """Refuse an aligner that does not fit the metric, with the service's words."""
    if aligner == "ALIGN_NONE":
        return
    if aligner not in _KNOWN:
        raise Refusal("UNIMPLEMENTED", f"The simulation does not know the aligner {aligner}.")
    if period < 60:
        raise invalid(
            "Field aggregation.alignmentPeriod had an invalid value of "
            f'"{period:g}s": must be at least 60 seconds.'
        )
    distribution = value_type == "DISTRIBUTION"
    wrong = (
        (aligner in _PERCENTILES and not distribution)
        or (aligner in {"ALIGN_RATE", "ALIGN_DELTA"} and kind == "GAUGE")
        or (aligner == "ALIGN_RATE" and distribution)
        or (aligner in _NUMERIC and kind == "CUMULATIVE")
        or (aligner in {"ALIGN_MEAN", "ALIGN_MIN", "ALIGN_MAX"} and kind != "GAUGE")
    )
    if wrong:
        raise invalid(
            f'Field aggregation.perSeriesAligner had an invalid value of "{aligner}": The aligner '
            f"cannot be applied to metrics with kind {kind} and value type {value_type}."
        )


def align(
    samples: Sequence[Sample], aligner: str, period: float, end: datetime, kind: str
) -> list[Sample]:
    """Return one sample a period, newest first; periods are counted back from ``end``."""
    if aligner == "ALIGN_NONE":
        return sorted(samples, key=lambda sample: sample.time, reverse=True)
    buckets: dict[int, list[Sample]] = {}
    for sample in samples:
        buckets.setdefault(int((end - sample.time).total_seconds() // period), []).append(sample)
    aligned = []
    for index, bucket in sorted(buckets.items()):
        ordered = sorted(bucket, key=lambda sample: sample.time)
        moment = end - timedelta(seconds=index * period)
        aligned.append(_combine(ordered, aligner, period, moment, kind))
    return aligned


def _combine(
    bucket: Sequence[Sample], aligner: str, period: float, moment: datetime, kind: str
) -> Sample:
    values = [sample.value for sample in bucket]
    if aligner == "ALIGN_DELTA" and bucket[0].count:
        count = sum(sample.count for sample in bucket)
        mean = sum(sample.value * sample.count for sample in bucket) / count
        return Sample(moment, mean, count)
    change = values[-1] - values[0] if kind == "CUMULATIVE" else sum(values)
    results: Mapping[str, float] = {
        "ALIGN_MEAN": sum(values) / len(values),
        "ALIGN_MIN": min(values),
        "ALIGN_MAX": max(values),
        "ALIGN_SUM": sum(values),
        "ALIGN_COUNT": float(len(values)),
        "ALIGN_NEXT_OLDER": values[-1],
        "ALIGN_DELTA": change,
        "ALIGN_RATE": change / period,
    }
    # Every percentile of a distribution that a scenario gives as count and mean is its mean.
    return Sample(moment, results.get(aligner, sum(values) / len(values)))


_REDUCERS = {"REDUCE_SUM", "REDUCE_MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_COUNT"}


def reduce_samples(groups: Sequence[Sequence[Sample]], reducer: str) -> list[Sample]:
    """Return one series made of several aligned ones, newest first."""
    if reducer not in _REDUCERS:
        raise Refusal("UNIMPLEMENTED", f"The simulation does not know the reducer {reducer}.")
    by_time: dict[datetime, list[float]] = {}
    for samples in groups:
        for sample in samples:
            by_time.setdefault(sample.time, []).append(sample.value)
    combine = {
        "REDUCE_SUM": sum,
        "REDUCE_MEAN": lambda values: sum(values) / len(values),
        "REDUCE_MAX": max,
        "REDUCE_MIN": min,
        "REDUCE_COUNT": len,
    }[reducer]
    return [
        Sample(moment, float(combine(values)))  # type: ignore[operator]
        for moment, values in sorted(by_time.items(), reverse=True)
    ]
