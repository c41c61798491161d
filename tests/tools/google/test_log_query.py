from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.domain import Origin, Severity
from tools.errors import CloudUnavailable, QuotaExceeded, UsageError
from tools.google.clients import Cloud
from tools.google.logging import LogQuery, entry_json, read_records, record_of
from tools.google.monitoring import series_filter
from tools.google.pace import TokenBucket
from tools.google.quoting import quoted
from tools.logs.records import record_from_entry
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.filter_tokens import tokenize
from tools.simulator.logging_filter import And, Compare, parse_filter

NOW = datetime(2026, 6, 6, 4, tzinfo=UTC)
PRINTABLE = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=60)


def compares(text: str) -> list[Compare]:
    tree = parse_filter(text)
    parts = tree.parts if isinstance(tree, And) else (tree,)
    assert all(isinstance(part, Compare) for part in parts)
    return [part for part in parts if isinstance(part, Compare)]


@given(PRINTABLE)
def test_a_quoted_value_is_one_string_with_that_value(value: str) -> None:
    (token, end) = tokenize(quoted(value))
    assert (token.kind, token.text, end.kind) == ("string", value, "end")


@given(st.text(max_size=80))
def test_no_value_ever_leaves_its_quotes(value: str) -> None:
    kinds = [token.kind for token in tokenize(quoted(value))]
    assert kinds == ["string", "end"]


@given(PRINTABLE, PRINTABLE)
def test_a_hostile_value_adds_no_term(service: str, text: str) -> None:
    query = LogQuery(
        resource_types=("cloud_run_revision",), labels={"service_name": service}, text=text or "x"
    )
    found = compares(query.filter("p"))
    assert [part.path for part in found] == [
        ("resource", "type"),
        ("resource", "labels", "service_name"),
        ("textPayload",),
    ]
    assert found[1].value == service


def test_the_whole_filter() -> None:
    query = LogQuery(
        resource_types=("cloud_run_revision", "cloud_run_job"),
        labels={"service_name": 'a"b'},
        entry_labels={"compute.googleapis.com/resource_name": "vm"},
        log_ids=("run.googleapis.com/stderr",),
        start=NOW - timedelta(hours=1),
        end=NOW,
        min_severity=Severity.WARNING,
        text="boom",
    )
    assert query.filter("p") == (
        'resource.type=("cloud_run_revision" OR "cloud_run_job")'
        ' AND resource.labels.service_name="a\\"b"'
        ' AND labels."compute.googleapis.com/resource_name"="vm"'
        ' AND logName="projects/p/logs/run.googleapis.com%2Fstderr"'
        ' AND timestamp>="2026-06-06T03:00:00Z" AND timestamp<="2026-06-06T04:00:00Z"'
        ' AND severity>=WARNING AND textPayload:"boom"'
    )


def test_a_label_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="name of a label"):
        LogQuery(labels={'x="" OR y': "1"}).filter("p")
    with pytest.raises(UsageError, match=r"resource.NAME"):
        series_filter("m", {"service_name": "x"})


def test_a_filter_that_is_too_long_is_refused_here() -> None:
    with pytest.raises(UsageError, match="20000"):
        LogQuery(text="x" * 20_000).filter("p")


def run_query(cloud: Cloud, **changes: object) -> LogQuery:
    fields: dict[str, object] = {
        "resource_types": ("cloud_run_revision",),
        "labels": {"service_name": "gemma"},
        "start": NOW - timedelta(hours=3),
        "end": NOW,
    }
    return LogQuery(**(fields | changes))  # type: ignore[arg-type]


async def test_records_come_in_order_and_with_their_origin(cloud: Cloud) -> None:
    found = [one async for one in read_records(cloud, run_query(cloud), 100)]
    assert [one.origin for one in found] == [
        Origin.PROCESS,
        Origin.PROCESS,
        Origin.PROCESS,
        Origin.PLATFORM,
        Origin.CONTROL_PLANE,
    ]
    assert found[1].text == "(EngineCore pid=1) ValueError: no kernel"
    assert found[1].revision == "gemma-00002-def"
    assert found[-1].severity is Severity.ERROR
    assert [one.time for one in found] == sorted(one.time for one in found if one.time)
    newest = [one async for one in read_records(cloud, run_query(cloud, oldest_first=False), 2)]
    assert [one.ref for one in newest] == [found[-1].ref, found[-2].ref]


async def test_the_limit_is_hard_and_pages_are_followed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.google.logging.MAX_PAGE", 2)
    assert len([one async for one in read_records(cloud, run_query(cloud), 3)]) == 3
    assert cloud.calls == 2
    everything = [one async for one in read_records(cloud, run_query(cloud), 100)]
    assert len({one.ref for one in everything}) == 5


async def test_text_finds_what_severity_would_hide(cloud: Cloud) -> None:
    by_text = [one async for one in read_records(cloud, run_query(cloud, text="no kernel"), 10)]
    loud = run_query(cloud, min_severity=Severity.ERROR)
    by_severity = [one async for one in read_records(cloud, loud, 10)]
    assert len(by_text) == 1
    assert [one.origin for one in by_severity] == [Origin.CONTROL_PLANE]


async def test_an_error_ends_the_reading(cloud: Cloud, simulated: SimulatedCloud) -> None:
    simulated.inject("logging.*", error={"code": "INTERNAL"})
    with pytest.raises(CloudUnavailable):
        _ = [one async for one in read_records(cloud, run_query(cloud), 10)]


def test_an_unknown_message_in_an_audit_entry_costs_that_part_only() -> None:
    from google.cloud.audit import audit_log_pb2
    from google.cloud.logging_v2.types import LogEntry
    from google.protobuf import any_pb2

    audit = audit_log_pb2.AuditLog(method_name="M", resource_name="R")
    audit.status.message = "refused"
    audit.service_data.CopyFrom(any_pb2.Any(type_url="type.googleapis.com/no.such.Type"))
    packed = any_pb2.Any()
    packed.Pack(audit)
    entry = LogEntry(insert_id="1", proto_payload=packed)
    payload = entry_json(entry)["protoPayload"]
    assert payload["methodName"] == "M"
    assert payload["status"] == {"message": "refused"}
    unknown = LogEntry(insert_id="2", proto_payload=audit.service_data)
    assert entry_json(unknown)["protoPayload"] == {"@type": "type.googleapis.com/no.such.Type"}


async def test_a_full_bucket_is_quick_and_an_empty_one_says_when() -> None:
    now = 0.0
    bucket = TokenBucket(60, clock=lambda: now)
    for _ in range(20):
        await bucket.take(0)
    with pytest.raises(QuotaExceeded) as caught:
        await bucket.take(0.5)
    assert caught.value.retry_after == pytest.approx(1.5)
    now = 1.5
    await bucket.take(0)


@given(st.lists(st.floats(0, 5), max_size=200))
def test_no_minute_sees_more_than_its_quota(gaps: list[float]) -> None:
    now = 0.0
    bucket = TokenBucket(60, clock=lambda: now)
    passed: list[float] = []
    for gap in gaps:
        now += gap
        if bucket.reserve() == 0.0:
            passed.append(now)
        else:
            bucket.give_back()
    for start in passed:
        inside = sum(start <= time < start + 60 for time in passed)
        assert inside <= 60


TIMES = st.one_of(
    st.none(),
    st.integers(0, 10**12).map(lambda micros: NOW + timedelta(microseconds=micros)),
)


@given(
    st.text(max_size=80),
    st.sampled_from([0, 100, 200, 300, 400, 500, 800]),
    TIMES,
    st.dictionaries(st.sampled_from(["instanceId", "x"]), st.text(max_size=10)),
    st.sampled_from(["stdout", "stderr", "requests", "varlog%2Fsystem", ""]),
    st.booleans(),
)
def test_the_short_way_to_a_record_is_the_long_way(
    text: str,
    severity: int,
    time: datetime | None,
    labels: dict[str, str],
    log: str,
    request: bool,
) -> None:
    from google.cloud.logging_v2.types import LogEntry

    fields: dict[str, object] = {
        "insert_id": "1",
        "log_name": f"projects/p/logs/run.googleapis.com%2F{log}",
        "text_payload": text,
        "severity": severity,
        "timestamp": time,
        "labels": labels,
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": "s"}},
        "trace": "projects/p/traces/1",
    }
    if request:
        fields["http_request"] = {"status": 503, "request_url": "https://x/"}
    entry = LogEntry(fields)
    assert record_of(entry) == record_from_entry(entry_json(entry))
