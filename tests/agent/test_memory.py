from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.memory import Memory
from tools.errors import UsageError


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    opened = Memory.open(tmp_path / "state.db")
    yield opened
    opened.close()


def a_report(*causes: str, service: str = "gemma") -> dict[str, Any]:
    return {
        "target": {"service": service, "kind": "cloud-run"},
        "verdict": "confirmed" if causes else "healthy",
        "causes": [{"id": cause, "title": cause.upper()} for cause in causes],
        "evidence": [{"id": "E1", "source": "logging", "ref": "r", "time": None, "quote": "q"}],
        "stats": {"seconds": 1.0},
    }


def a_turn(memory: Memory) -> str:
    return memory.start_turn(memory.start_session(), "diagnose", "?", {"a": 1})


def test_a_turn_that_ends_twice_is_counted_once(memory: Memory) -> None:
    turn = a_turn(memory)
    first = memory.finish_turn(turn, "finished", report=a_report("x"), record_incident=True)
    again = memory.finish_turn(turn, "finished", report=a_report("x"), record_incident=True)
    assert first == again
    (incident,) = memory.list_incidents()
    assert incident["count"] == 1


def test_the_same_causes_join_the_open_incident(memory: Memory) -> None:
    ids = {
        memory.finish_turn(
            a_turn(memory), "finished", report=a_report(*order), record_incident=True
        )
        for order in (("a", "b"), ("b", "a"))
    }
    assert len(ids) == 1
    assert memory.list_incidents()[0]["count"] == 2


def test_another_service_is_another_incident(memory: Memory) -> None:
    for service in ("one", "two"):
        memory.finish_turn(
            a_turn(memory), "finished", report=a_report("x", service=service), record_incident=True
        )
    assert len(memory.list_incidents()) == 2


def test_nothing_is_recorded_without_a_cause_or_a_wish(memory: Memory) -> None:
    assert (
        memory.finish_turn(a_turn(memory), "finished", report=a_report(), record_incident=True)
        is None
    )
    assert memory.finish_turn(a_turn(memory), "finished", report=a_report("x")) is None
    assert memory.list_incidents() == []


def test_the_report_that_is_kept_names_its_incident(memory: Memory) -> None:
    turn = a_turn(memory)
    incident = memory.finish_turn(turn, "finished", report=a_report("x"), record_incident=True)
    session = memory.db.execute("SELECT session FROM turns WHERE id = ?", [turn]).fetchone()[0]
    report = memory.last_report(session)
    assert report is not None
    assert report["incident"] == incident


def test_an_incident_is_found_by_an_unambiguous_prefix(memory: Memory) -> None:
    incident = memory.finish_turn(
        a_turn(memory), "finished", report=a_report("x"), record_incident=True
    )
    assert incident is not None
    assert memory.get_incident(incident[:-2])["id"] == incident
    for hostile in ("", "%", "nope", "i-' OR 1=1 --"):
        with pytest.raises(UsageError):
            memory.get_incident(hostile)


def test_only_a_turn_that_runs_is_unfinished(memory: Memory) -> None:
    request = {"service": "x", "logs": []}
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", request)
    assert [t["id"] for t in memory.unfinished_turns(dict(reversed(request.items())))] == [turn]
    assert memory.unfinished_turns({"service": "y"}) == []
    memory.finish_turn(turn, "cancelled")
    assert memory.unfinished_turns(request) == []


def test_a_call_replaces_itself_and_huge_output_says_it_was_cut(memory: Memory) -> None:
    turn = a_turn(memory)
    for content in ("first", "x" * 1_200_000):
        memory.record_call(turn, {"call": "c", "name": "n", "state": "ok", "content": content})
    rows = memory.db.execute("SELECT content FROM tool_calls").fetchall()
    assert len(rows) == 1
    assert rows[0][0].endswith("[cut: 1200000 characters in all]")
