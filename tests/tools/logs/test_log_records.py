from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.domain import LogRecord, Origin, Severity
from tools.logs.records import parse_time, record_from_entry
from tools.logs.severity import infer_platform_severity, infer_severity


def test_the_export_becomes_records(export: list[dict[str, Any]]) -> None:
    records = [record_from_entry(entry) for entry in export]
    origins = {(r.stream, r.origin) for r in records}
    assert origins == {
        ("stdout", Origin.PROCESS),
        ("stderr", Origin.PROCESS),
        ("system", Origin.PLATFORM),
        ("audit", Origin.CONTROL_PLANE),
    }
    assert all(r.ref and r.time and r.service and r.revision for r in records)
    root = next(r for r in records if "ERROR" in r.text and "ValueError: Failed" in r.text)
    assert root.severity is Severity.ERROR
    assert root.severity_inferred
    exit_ = next(r for r in records if r.text == "Container called exit(1).")
    assert (exit_.severity, exit_.origin) == (Severity.ERROR, Origin.PLATFORM)
    audit = records[-1]
    assert audit.method == "/Services.ReplaceService"
    assert "failed the configured startup probe checks" in audit.text
    assert "HealthCheckContainerError" in audit.text
    assert (
        "resource=namespaces/example-project/revisions/gpu-12b-l4-devops-agent-00011-2nn"
        in audit.text
    )


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("WARNING 06-06 03:40:07 [argparse_utils.py:257] With", Severity.WARNING),
        ("(EngineCore pid=1) ERROR 06-06 03:40:07 [core.py:1] x", Severity.ERROR),
        ("INFO:     Application startup complete.", Severity.INFO),
        ("[W606 03:41:27.176196467 socket.cpp:207] [c10d] x", Severity.WARNING),
        ("[rank0]:[W606 03:41:49.478629010 ProcessGroupNCCL.cpp:1575] x", Severity.WARNING),
        ("E0606 03:41:27.176196 1 x.cc:1] y", Severity.ERROR),
        ("F1121 03:41:27.176196 1 x.cc:1] y", Severity.CRITICAL),
        ('time="06/06/2026" severity=WARNING message="x"', Severity.WARNING),
        ("Traceback (most recent call last):", Severity.ERROR),
        ("panic: user: unknown userid 1001", Severity.ERROR),
        ("vllm serve: error: argument --x: y", Severity.ERROR),
        ("torch.OutOfMemoryError: CUDA out of memory.", Severity.ERROR),
        ("\\x1b[32mINFO\\x1b[0m 06-06 03:40:07 [x.py:1] y", Severity.INFO),
        ("just words", Severity.DEFAULT),
        ("INFORMATION about ERRORS", Severity.DEFAULT),
    ],
)
def test_severity_is_inferred(text: str, severity: Severity) -> None:
    assert infer_severity(text) is severity


def test_the_platforms_words_have_a_severity() -> None:
    assert infer_platform_severity("Container called exit(1).") is Severity.ERROR
    assert infer_platform_severity("Container called exit(0).") is Severity.INFO
    assert infer_platform_severity("Container terminated on signal 9.") is Severity.ERROR
    assert (
        infer_platform_severity("Memory limit of 512 MiB exceeded with 516 MiB used.")
        is Severity.ERROR
    )


def test_a_given_severity_is_kept(cloud: Callable[..., LogRecord]) -> None:
    record = cloud("ERROR: not so bad", severity="NOTICE")
    assert (record.severity, record.severity_inferred) == (Severity.NOTICE, False)


def test_json_payloads_keep_message_and_fields(entry: Callable[..., dict[str, Any]]) -> None:
    payload = {
        "message": "engine stopped\nTraceback (most recent call last):",
        "level": "error",
        "pid": 7,
        "config": {"a": {"b": {"c": {"d": 1}}}},
        "prompt": "evil words",
        "time": "2026",
    }
    record = record_from_entry(entry(jsonPayload=payload))
    first = record.text.split("\n")[0]
    assert first == "engine stopped pid=7 config={a: {b: {c: {…}}}} prompt=⟨value⟩"
    assert record.severity is Severity.ERROR
    assert not record.severity_inferred


def test_audit_entries_carry_the_refusal(entry: Callable[..., dict[str, Any]]) -> None:
    proto = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "status": {"code": 7, "message": "Permission denied on secret: projects/7/secrets/t"},
        "methodName": "google.cloud.run.v2.Services.UpdateService",
        "resourceName": "projects/p/services/s",
    }
    record = record_from_entry(entry(stream="audit", protoPayload=proto, severity="ERROR"))
    assert record.text == (
        "Permission denied on secret: projects/7/secrets/t"
        " method=google.cloud.run.v2.Services.UpdateService resource=projects/p/services/s code=7"
    )
    assert record.origin is Origin.CONTROL_PLANE


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-06-06T03:41:27.297686963Z", datetime(2026, 6, 6, 3, 41, 27, 297686, tzinfo=UTC)),
        ("2026-06-06T03:41:27Z", datetime(2026, 6, 6, 3, 41, 27, tzinfo=UTC)),
        (
            "2026-06-06T05:41:27.123456789+02:00",
            datetime(2026, 6, 6, 3, 41, 27, 123456, tzinfo=UTC),
        ),
        ("2026-06-06T03:41:27.5", datetime(2026, 6, 6, 3, 41, 27, 500000, tzinfo=UTC)),
        ("yesterday, in the afternoon", None),
        ("0001-01-01T00:00:00+14:00", None),
        (7, None),
    ],
)
def test_times(text: object, time: datetime | None) -> None:
    assert parse_time(text) == time


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["textPayload", "jsonPayload", "protoPayload", "httpRequest", "severity", "timestamp", "labels", "resource",
     "insertId", "logName", "receiveTimestamp"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON, max_size=8))
def test_any_entry_becomes_a_record(entry: dict[str, Any]) -> None:
    record = record_from_entry(entry, fallback_ref="f:1")
    assert record.ref
    record.text.encode()
