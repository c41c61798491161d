"""Cloud Monitoring: time series, and how many instances a service has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tools.domain import Point, Series
from tools.errors import UsageError
from tools.google.clients import Cloud
from tools.google.quoting import label_key, quoted
from tools.google.times import utc

if TYPE_CHECKING:
    from google.cloud.monitoring_v3.types import TypedValue

INSTANCE_COUNT = "run.googleapis.com/container/instance_count"
# A point of instance_count is written each minute and becomes visible within three more
# (cloud.google.com/monitoring/api/metrics_gcp), so an instance that runs has a point this new.
_FRESH = timedelta(minutes=5)
_MAX_PAGE = 1000


async def read_series(
    cloud: Cloud,
    metric: str,
    labels: Mapping[str, str],
    minutes: float,
    *,
    end: datetime | None = None,
) -> tuple[Series, ...]:
    """Return the time series of a metric over the last minutes; raises a CloudError.

    Keys of ``labels`` are ``resource.NAME`` or ``metric.NAME``. A distribution becomes its mean,
    a truth value 0 or 1. Points are newest first.
    """
    from google.cloud.monitoring_v3.types import ListTimeSeriesRequest, TimeInterval

    until = end or cloud.config.now()
    request = ListTimeSeriesRequest(
        name=f"projects/{cloud.project}",
        filter=series_filter(metric, labels),
        interval=TimeInterval(start_time=until - timedelta(minutes=minutes), end_time=until),
        view=ListTimeSeriesRequest.TimeSeriesView.FULL,
        page_size=_MAX_PAGE,
    )
    found: list[Series] = []
    while True:
        page: Any = await cloud.call("monitoring", cloud.monitoring.list_time_series, request)
        found.extend(_series(row) for row in page.time_series)
        if not page.next_page_token:
            return tuple(found)
        request.page_token = page.next_page_token


def series_filter(metric: str, labels: Mapping[str, str]) -> str:
    """Return the filter of one metric; raises UsageError for a label of neither kind."""
    parts = [f"metric.type={quoted(metric)}"]
    for key, value in labels.items():
        kind, _, name = key.partition(".")
        if kind not in {"resource", "metric"} or not name:
            raise UsageError(f"A label is given as resource.NAME or metric.NAME, not {key!r}.")
        parts.append(f"{kind}.labels.{label_key(name)}={quoted(value)}")
    return " AND ".join(parts)


async def instance_count(cloud: Cloud, service: str, location: str = "") -> int | None:
    """Return how many instances a Cloud Run service has now, None if Monitoring can't tell.

    Sums the newest point of each revision and state (active, idle). A service that has been at
    zero for long has no points at all, and neither has one that was made a minute ago. Points of
    which the newest is older than five minutes tell nothing about now either.
    """
    labels = {"resource.service_name": service}
    if location:
        labels["resource.location"] = location
    series = await read_series(cloud, INSTANCE_COUNT, labels, 10)
    newest = [one.points[0] for one in series if one.points]
    if not newest:
        return None
    last = max(point.time for point in newest)
    if cloud.config.now() - last > _FRESH:
        return None
    return round(sum(point.value for point in newest if last - point.time < _FRESH))


def _series(row: Any) -> Series:
    labels = {f"resource.{key}": value for key, value in row.resource.labels.items()}
    labels |= {f"metric.{key}": value for key, value in row.metric.labels.items()}
    points = [
        Point(time, number)
        for point in row.points
        if (time := utc(point.interval.end_time)) is not None
        and (number := _number(point.value)) is not None
    ]
    points.sort(key=lambda point: point.time, reverse=True)
    return Series(row.metric.type, labels, tuple(points), row.unit)


def _number(value: TypedValue) -> float | None:
    kind = type(value).pb(value).WhichOneof("value")
    if kind == "distribution_value":
        return float(value.distribution_value.mean) if value.distribution_value.count else None
    if kind in {"int64_value", "double_value", "bool_value"}:
        return float(getattr(value, kind))
    return None
