from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tools.domain import LogRecord
from tools.logs.records import record_from_entry, record_from_line

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
START = datetime(2026, 6, 6, 3, 40, tzinfo=UTC)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the repository")
    return path


@pytest.fixture(scope="session")
def export_path() -> Path:
    return shared("logs/cloud-run-12b-qat-l4-revision-11.json")


@pytest.fixture(scope="session")
def startup_path() -> Path:
    return shared("vllm-0.32/startup.log")


@pytest.fixture(scope="session")
def export(export_path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(export_path.read_text("utf-8"))
    return entries


@pytest.fixture(scope="session")
def signatures() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shared("failure_signatures.json").read_text("utf-8"))
    return found


LOGS = {
    "system": "run.googleapis.com%2Fvarlog%2Fsystem",
    "audit": "cloudaudit.googleapis.com%2Fsystem_event",
    "request": "run.googleapis.com%2Frequests",
}


def cloud_entry(
    text: str = "",
    *,
    at: float = 0.0,
    stream: str = "stdout",
    instance: str = "i1",
    ref: str = "",
    **more: Any,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "insertId": ref or f"{at}:{text[:40]}",
        "logName": "projects/p/logs/" + LOGS.get(stream, f"run.googleapis.com%2F{stream}"),
        "timestamp": (START + timedelta(seconds=at)).isoformat().replace("+00:00", "Z"),
        "labels": {"instanceId": instance},
        "resource": {
            "type": "cloud_run_revision",
            "labels": {"service_name": "gemma", "revision_name": "gemma-1", "project_id": "p"},
        },
        **more,
    }
    if text:
        entry["textPayload"] = text
    return entry


@pytest.fixture(scope="session")
def entry() -> Callable[..., dict[str, Any]]:
    return cloud_entry


@pytest.fixture(scope="session")
def cloud() -> Callable[..., LogRecord]:
    """One entry of Cloud Run as a record."""
    return lambda text, **more: record_from_entry(cloud_entry(text, **more))


@pytest.fixture(scope="session")
def printed() -> Callable[..., list[LogRecord]]:
    """One write to a stream: an entry a line, microseconds apart, as Cloud Run makes of it."""

    def make(text: str, *, at: float = 0.0, **more: Any) -> list[LogRecord]:
        return [
            record_from_entry(cloud_entry(line, at=at + n * 3e-6, ref=f"{at}-{n}", **more))
            for n, line in enumerate(text.split("\n"))
        ]

    return make


@pytest.fixture(scope="session")
def lines() -> Callable[[str], list[LogRecord]]:
    """Plain text as records."""
    return lambda text: [
        record_from_line(line, f"a.log:{n}") for n, line in enumerate(text.split("\n"), 1)
    ]
