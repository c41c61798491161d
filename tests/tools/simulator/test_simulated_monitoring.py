from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3
from hypothesis import given
from hypothesis import strategies as st

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.filter_tokens import FilterError
from tools.simulator.monitoring_filter import parse_monitoring_filter

PROJECT = "projects/demo-project"
COUNT = 'metric.type = "run.googleapis.com/container/instance_count"'
FULL = monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL
NEEDED = monitoring_v3.Aggregation.Aligner


async def series(
    cloud: SimulatedCloud, clients: Any, text: str, *, minutes: int = 30, **fields: Any
) -> list[monitoring_v3.TimeSeries]:
    end = cloud.clock.now()
    interval = monitoring_v3.TimeInterval(start_time=end - timedelta(minutes=minutes), end_time=end)
    request = {"name": PROJECT, "filter": text, "interval": interval, "view": FULL, **fields}
    return [item async for item in await clients.monitoring.list_time_series(request=request)]


async def test_points_come_newest_first_within_the_interval(
    cloud: SimulatedCloud, clients: Any
) -> None:
    (one,) = await series(cloud, clients, COUNT, minutes=10)
    assert len(one.points) == 10
    ends = [point.interval.end_time for point in one.points]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] == cloud.clock.now()
    assert one.points[0].value.int64_value == 1
    assert dict(one.metric.labels) == {"state": "active"}
    assert one.resource.labels["revision_name"] == "gemma-4-12b-00010-qkz"


@pytest.mark.parametrize("scenario_name", ["healthy"])
async def test_filters_aligners_and_reducers(cloud: SimulatedCloud, clients: Any) -> None:
    both = await series(cloud, clients, COUNT)
    assert {one.metric.labels["state"] for one in both} == {"active", "idle"}
    (active,) = await series(
        cloud,
        clients,
        f'{COUNT} AND metric.labels.state = "active" AND resource.labels.location = "us-east4"',
    )
    assert active.metric.labels["state"] == "active"
    aggregation = monitoring_v3.Aggregation(
        alignment_period={"seconds": 300},
        per_series_aligner=NEEDED.ALIGN_MEAN,
        cross_series_reducer=monitoring_v3.Aggregation.Reducer.REDUCE_SUM,
        group_by_fields=["resource.label.service_name"],
    )
    (total,) = await series(cloud, clients, COUNT, aggregation=aggregation)
    assert {point.value.double_value for point in total.points} == {1.0}
    assert dict(total.resource.labels) == {"service_name": "gemma-4-12b"}
    latency = 'metric.type = "run.googleapis.com/request_latencies"'
    (whole,) = await series(cloud, clients, latency)
    assert whole.points[0].value.distribution_value.mean == 3400
    p95 = monitoring_v3.Aggregation(
        alignment_period={"seconds": 60}, per_series_aligner=NEEDED.ALIGN_PERCENTILE_95
    )
    (aligned,) = await series(cloud, clients, latency, aggregation=p95)
    assert aligned.points[0].value.double_value == 3400


@pytest.mark.parametrize("scenario_name", ["healthy"])
async def test_quotas_are_series_of_consumer_quota(cloud: SimulatedCloud, clients: Any) -> None:
    (limit,) = await series(
        cloud,
        clients,
        'metric.type = "serviceruntime.googleapis.com/quota/limit" AND '
        'resource.labels.service = "run.googleapis.com"',
    )
    assert limit.points[0].value.int64_value == 3
    assert limit.resource.type == "consumer_quota"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('metric.type = "run.googleapis.com/container/instances"', "known metric"),
        ('resource.type = "cloud_run_revision"', "single metric type"),
        (f'{COUNT} AND metric.labels.colour = "red"', "no label 'colour'"),
        (f'{COUNT} AND resource.labels.zone = "a"', "no label 'zone'"),
        (f'{COUNT} AND resource.type = "tpu_worker"', "valid combination"),
        (f"{COUNT} AND colour = red", "unknown selector"),
        (f"{COUNT} AND", "syntax error"),
        (f'{COUNT} AND metric.labels.state =~ "a"', "syntax error"),
        (f'{COUNT} AND metric.labels.state = near("a")', "Unknown function"),
        (f'{COUNT} AND (metric.labels.state = "a" OR resource.type = "b")', "same field"),
    ],
)
async def test_wrong_filters_are_refused(
    cloud: SimulatedCloud, clients: Any, text: str, words: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=words):
        await series(cloud, clients, text)


@pytest.mark.parametrize(
    ("metric", "aligner", "seconds"),
    [
        ("run.googleapis.com/container/instance_count", NEEDED.ALIGN_RATE, 60),
        ("run.googleapis.com/container/instance_count", NEEDED.ALIGN_PERCENTILE_95, 60),
        ("run.googleapis.com/request_count", NEEDED.ALIGN_MEAN, 60),
        ("run.googleapis.com/container/instance_count", NEEDED.ALIGN_MEAN, 30),
    ],
)
async def test_aligners_that_do_not_fit_are_refused(
    cloud: SimulatedCloud, clients: Any, metric: str, aligner: Any, seconds: int
) -> None:
    aggregation = monitoring_v3.Aggregation(
        alignment_period={"seconds": seconds}, per_series_aligner=aligner
    )
    with pytest.raises(exceptions.InvalidArgument, match=r"aggregation\."):
        await series(cloud, clients, f'metric.type = "{metric}"', aggregation=aggregation)


async def test_an_interval_is_needed(clients: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="interval"):
        await clients.monitoring.list_time_series(request={"name": PROJECT, "filter": COUNT})


async def test_descriptors_are_found_by_prefix(clients: Any) -> None:
    pager = await clients.monitoring.list_metric_descriptors(
        request={
            "name": PROJECT,
            "filter": 'metric.type = starts_with("run.googleapis.com/container/gpu")',
        }
    )
    found = [one.type async for one in pager]
    assert "run.googleapis.com/container/gpu/utilizations" in found
    assert all(name.startswith("run.googleapis.com/container/gpu") for name in found)


@given(st.text(max_size=50))
def test_any_filter_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FilterError):
        parse_monitoring_filter(text).matches({"metric.type": "x"})


@given(
    st.lists(st.text(alphabet='ab"\\ /.', max_size=6), min_size=1, max_size=4),
    st.text(alphabet='ab"\\ /.', max_size=6),
    st.booleans(),
)
def test_one_of_is_membership(values: list[str], value: str, negated: bool) -> None:
    quoted = ", ".join(
        '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in values
    )
    text = f"{'NOT ' if negated else ''}metric.labels.state = one_of({quoted})"
    parsed = parse_monitoring_filter(text)
    assert parsed.matches({"metric.labels.state": value}) == ((value in values) != negated)
