"""Cloud Monitoring v3: time series and metric descriptors of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.api import distribution_pb2, label_pb2, metric_pb2
from google.cloud.monitoring_v3 import types

from tools.simulator.aggregation import Sample, align, check_aligner, reduce_samples
from tools.simulator.clock import SimulatedClock
from tools.simulator.filter_tokens import FilterError
from tools.simulator.monitoring_filter import check_series_filter, parse_monitoring_filter
from tools.simulator.names import MetricName, known_names
from tools.simulator.scenario import Scenario
from tools.simulator.status import invalid, not_found
from tools.simulator.timeline import parse_span, parse_time

#: list requests: "page_size … at most 100,000" (metric_service.proto, monitoring 2.32.0).
MAX_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series: its metric, labels, resource and samples."""

    metric: MetricName
    labels: Mapping[str, str]
    resource_type: str
    resource: Mapping[str, str]
    samples: tuple[Sample, ...]

    def selectors(self, project: str) -> dict[str, str]:
        """Return what a filter can ask about."""
        return {
            "metric.type": self.metric.type,
            "resource.type": self.resource_type,
            "project": project,
            **{f"metric.labels.{key}": value for key, value in self.labels.items()},
            **{f"resource.labels.{key}": value for key, value in self.resource.items()},
        }


class SimulatedMonitoring:
    """Serve a scenario's series; points later than the clock do not exist yet."""

    def __init__(self, scenario: Scenario, clock: SimulatedClock) -> None:
        self._scenario = scenario
        self._clock = clock
        self._series = build_series(scenario)

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return the methods by short name."""
        return {
            "monitoring.ListTimeSeries": self.list_time_series,
            "monitoring.ListMetricDescriptors": self.list_descriptors,
            "monitoring.GetMetricDescriptor": self.get_descriptor,
        }

    def list_time_series(
        self, request: types.ListTimeSeriesRequest
    ) -> types.ListTimeSeriesResponse:
        """Answer timeSeries.list; points newest first, start exclusive, end inclusive."""
        self._check_project(request.name)
        start, end = _interval(request)
        if request.page_size < 0 or request.page_size > MAX_PAGE:
            raise invalid(f"page_size must be between 0 and {MAX_PAGE}.")
        try:
            parsed = parse_monitoring_filter(request.filter)
            metric = check_series_filter(parsed, known_names())
        except FilterError as error:
            raise invalid(str(error)) from None
        period = request.aggregation.alignment_period.total_seconds()
        aligner = request.aggregation.per_series_aligner.name
        check_aligner(aligner, period, metric.metric_kind, metric.value_type)
        if aligner == "ALIGN_NONE" and request.aggregation.cross_series_reducer:
            raise invalid("aggregation.crossSeriesReducer needs aggregation.perSeriesAligner.")
        limit = min(end, self._clock.now())
        found: list[tuple[StoredSeries, list[Sample]]] = []
        for series in self._series:
            if series.metric is not metric:
                continue
            if not parsed.matches(series.selectors(self._scenario.project)):
                continue
            inside = [sample for sample in series.samples if start < sample.time <= limit]
            if inside:
                found.append((series, align(inside, aligner, period, end, metric.metric_kind)))
        if request.aggregation.cross_series_reducer:
            found = _reduce(found, request.aggregation)
        headers_only = request.view == types.ListTimeSeriesRequest.TimeSeriesView.HEADERS
        page, token = _page(found, request.page_size or MAX_PAGE, request.page_token)
        return types.ListTimeSeriesResponse(
            time_series=[
                _time_series(series, [] if headers_only else samples, aligner)
                for series, samples in page
            ],
            next_page_token=token,
        )

    def list_descriptors(
        self, request: types.ListMetricDescriptorsRequest
    ) -> types.ListMetricDescriptorsResponse:
        """Answer metricDescriptors.list, of every known metric."""
        self._check_project(request.name)
        try:
            parsed = parse_monitoring_filter(request.filter)
        except FilterError as error:
            raise invalid(str(error)) from None
        for term in parsed.terms():
            if term.selector not in {"metric.type", "project", "resource.type"}:
                raise invalid(f"A filter of descriptors can't use {term.selector}.")
        found = [
            _descriptor(metric, self._scenario.project)
            for metric in known_names().metrics.values()
            if parsed.matches({"metric.type": metric.type, "project": self._scenario.project})
        ]
        page, token = _page(found, request.page_size or 10_000, request.page_token)
        return types.ListMetricDescriptorsResponse(metric_descriptors=page, next_page_token=token)

    def get_descriptor(self, request: types.GetMetricDescriptorRequest) -> Any:
        """Answer metricDescriptors.get."""
        metric = known_names().metrics.get(request.name.partition("/metricDescriptors/")[2])
        if metric is None:
            raise not_found(f"Could not find descriptor for metric '{request.name}'.")
        return _descriptor(metric, self._scenario.project)

    def _check_project(self, name: str) -> None:
        if not name.startswith("projects/"):
            raise invalid(f'Field name had an invalid value of "{name}": not a resource name.')
        if name.split("/")[1] != self._scenario.project:
            raise not_found(f"The project {name} does not exist.")


def build_series(scenario: Scenario) -> tuple[StoredSeries, ...]:
    """Return the series of a scenario, its quotas' included."""
    return tuple(_series(scenario, row) for row in (*scenario.series, *_quota_rows(scenario)))


def _quota_rows(scenario: Scenario) -> list[dict[str, Any]]:
    rows = []
    for quota in scenario.quotas:
        service, metric = quota["metric"].split("/", 1)[0], quota["metric"]
        resource = {
            "type": "consumer_quota",
            "labels": {
                "project_id": scenario.project,
                "service": service,
                "location": quota.get("location", scenario.location),
            },
        }
        points = {"from": "-1h", "to": "0", "every": "10m"}
        rows.append(
            {
                "metric": "serviceruntime.googleapis.com/quota/limit",
                "labels": {"limit_name": quota["limit_name"], "quota_metric": metric},
                "resource": resource,
                "points": points | {"value": quota["limit"]},
            }
        )
        rows.append(
            {
                "metric": "serviceruntime.googleapis.com/quota/allocation/usage",
                "labels": {"quota_metric": metric},
                "resource": resource,
                "points": points | {"value": quota["usage"]},
            }
        )
    return rows


def _series(scenario: Scenario, row: Mapping[str, Any]) -> StoredSeries:
    metric = known_names().metrics[row["metric"]]
    resource = row.get("resource", {})
    kind = resource.get("type", metric.resources[0])
    labels = _default_resource(scenario, kind, row) | dict(resource.get("labels", {}))
    return StoredSeries(
        metric,
        {key: str(value) for key, value in row.get("labels", {}).items()},
        kind,
        labels,
        tuple(_samples(row["points"], scenario.now)),
    )


def _default_resource(scenario: Scenario, kind: str, row: Mapping[str, Any]) -> dict[str, str]:
    if kind == "cloud_run_revision":
        service = row.get("service", scenario.service)
        return {
            "project_id": scenario.project,
            "location": scenario.location,
            "service_name": service,
            "configuration_name": service,
            "revision_name": row.get("revision") or scenario.newest_revision(service),
        }
    if kind == "tpu_worker":
        return {
            "project_id": scenario.project,
            "zone": scenario.zone,
            "node_id": scenario.first_node,
            "worker_id": "0",
        }
    if kind == "prometheus_target":
        return {
            "project_id": scenario.project,
            "location": scenario.location,
            "cluster": "__run__",
            "namespace": scenario.service,
            "job": scenario.service,
            "instance": "0:8000",
        }
    return {"project_id": scenario.project}


def _samples(points: Any, now: datetime) -> list[Sample]:
    if isinstance(points, Mapping):
        every = parse_span(points["every"])
        moment, last = parse_time(points["from"], now), parse_time(points["to"], now)
        samples = []
        while moment <= last:
            samples.append(_sample(moment, points["value"]))
            moment += every
        return samples
    return [_sample(parse_time(at, now), value) for at, value in points]


def _sample(moment: datetime, value: Any) -> Sample:
    if isinstance(value, Mapping):
        return Sample(moment, float(value["mean"]), int(value["count"]))
    return Sample(moment, float(value))


def _interval(request: types.ListTimeSeriesRequest) -> tuple[datetime, datetime]:
    raw = types.ListTimeSeriesRequest.pb(request)
    if not raw.HasField("interval") or not raw.interval.HasField("end_time"):
        raise invalid("Field interval.endTime had an invalid value: it is required.")
    end = raw.interval.end_time.ToDatetime(tzinfo=UTC)
    if not raw.interval.HasField("start_time"):
        raise invalid("Field interval.startTime had an invalid value: it is required.")
    start = raw.interval.start_time.ToDatetime(tzinfo=UTC)
    if start > end:
        raise invalid("Field interval.endTime had an invalid value: it is before the start time.")
    return start, end


def _reduce(
    found: Sequence[tuple[StoredSeries, list[Sample]]], aggregation: types.Aggregation
) -> list[tuple[StoredSeries, list[Sample]]]:
    fields = [
        field.replace(".label.", ".labels.").replace('"', "")
        for field in aggregation.group_by_fields
    ]
    groups: dict[tuple[str, ...], list[tuple[StoredSeries, list[Sample]]]] = {}
    for series, samples in found:
        selectors = series.selectors("")
        key = tuple(selectors.get(field, "") for field in fields)
        groups.setdefault(key, []).append((series, samples))
    reduced = []
    for members in groups.values():
        first = members[0][0]
        kept = StoredSeries(
            first.metric,
            {k: v for k, v in first.labels.items() if f"metric.labels.{k}" in fields},
            first.resource_type,
            {k: v for k, v in first.resource.items() if f"resource.labels.{k}" in fields},
            (),
        )
        samples = reduce_samples(
            [samples for _, samples in members], aggregation.cross_series_reducer.name
        )
        reduced.append((kept, samples))
    return reduced


def _time_series(series: StoredSeries, samples: Sequence[Sample], aligner: str) -> types.TimeSeries:
    result = types.TimeSeries(unit=series.metric.unit)
    raw = types.TimeSeries.pb(result)
    raw.metric.type = series.metric.type
    raw.metric.labels.update(series.labels)
    raw.resource.type = series.resource_type
    raw.resource.labels.update(series.resource)
    value_type = series.metric.value_type
    kind = series.metric.metric_kind
    if aligner not in {"ALIGN_NONE", "ALIGN_NEXT_OLDER"}:
        whole = aligner in {"ALIGN_SUM", "ALIGN_COUNT", "ALIGN_DELTA", "ALIGN_MIN", "ALIGN_MAX"}
        delta = aligner == "ALIGN_DELTA"
        value_type = value_type if whole else "DOUBLE"
        kind = "DELTA" if delta else "GAUGE"
    raw.metric_kind = metric_pb2.MetricDescriptor.MetricKind.Value(kind)
    raw.value_type = metric_pb2.MetricDescriptor.ValueType.Value(value_type)
    for sample in samples:
        point = raw.points.add()
        point.interval.end_time.FromDatetime(sample.time)
        point.interval.start_time.FromDatetime(sample.time)
        match value_type:
            case "INT64":
                point.value.int64_value = round(sample.value)
            case "BOOL":
                point.value.bool_value = bool(sample.value)
            case "DISTRIBUTION":
                point.value.distribution_value.CopyFrom(
                    distribution_pb2.Distribution(count=sample.count, mean=sample.value)
                )
            case _:
                point.value.double_value = sample.value
    return result


def _descriptor(metric: MetricName, project: str) -> metric_pb2.MetricDescriptor:
    return metric_pb2.MetricDescriptor(
        name=f"projects/{project}/metricDescriptors/{metric.type}",
        type=metric.type,
        labels=[label_pb2.LabelDescriptor(key=label) for label in metric.labels],
        metric_kind=metric_pb2.MetricDescriptor.MetricKind.Value(metric.metric_kind),
        value_type=metric_pb2.MetricDescriptor.ValueType.Value(metric.value_type),
        unit=metric.unit,
        monitored_resource_types=metric.resources,
    )


def _page(items: Sequence[Any], size: int, token: str) -> tuple[Sequence[Any], str]:
    if token and not token.isdigit():
        raise invalid("page_token is invalid")
    start = int(token or 0)
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""
