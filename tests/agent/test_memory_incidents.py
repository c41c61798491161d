from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.incidents import JOIN_WINDOW, TEXT_LIMIT
from agent.memory import Memory
from agent.narrate import summary
from tools.errors import UsageError

TOKEN = "hf_" + "abcdefghijklmnopqrst"


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path, clock: Clock) -> Iterator[Memory]:
    opened = Memory(tmp_path / "state.db", clock)
    yield opened
    opened.close()


def a_report(*causes: str, service: str = "gemma", **more: Any) -> dict[str, Any]:
    return {
        "target": {"service": service, "kind": "cloud-run"},
        "verdict": "confirmed",
        "causes": [
            {
                "id": cause,
                "title": f"Title of {cause}",
                "component": "vllm",
                "runbook": cause,
                "evidence": ["E1"],
                "fix": [],
                "explanation": "",
                "confidence": "confirmed",
            }
            for cause in causes
        ],
        "evidence": [{"id": "E1", "source": "logging", "ref": "r", "time": None, "quote": "q"}],
        "gaps": [],
        "similar": [],
        "impact": "Nobody is served.",
        "stats": {},
        **more,
    }


def record(memory: Memory, *causes: str, **more: Any) -> str:
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    incident = memory.finish_turn(
        turn, "finished", report=a_report(*causes, **more), record_incident=True
    )
    assert incident is not None
    return incident


def kinds(incident: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in incident["timeline"]]


def test_the_timeline_tells_who_did_what(memory: Memory, clock: Clock) -> None:
    incident = record(memory, "a")
    clock.time += timedelta(minutes=5)
    assert record(memory, "a") == incident
    clock.time += timedelta(minutes=5)
    memory.incidents.note(incident, "the L4 is too small", "ann")
    memory.incidents.note(incident, "rolled back", "bob", "action")
    found = memory.incidents.resolve(incident, "went back to revision 10", "bob")
    assert kinds(found) == ["opened", "seen", "note", "action", "resolved"]
    assert [event["author"] for event in found["timeline"][2:]] == ["ann", "bob", "bob"]
    assert found["timeline"][2]["time"] == "2026-06-01T00:10:00+00:00"
    assert (found["status"], found["resolution"]) == ("resolved", "went back to revision 10")
    assert found["count"] == 2


@pytest.mark.parametrize(("later", "joined"), [(timedelta(0), True), (timedelta(seconds=1), False)])
def test_the_same_signature_joins_within_the_window_only(
    memory: Memory, clock: Clock, later: timedelta, joined: bool
) -> None:
    first = record(memory, "a")
    clock.time += JOIN_WINDOW + later
    assert (record(memory, "a") == first) is joined


def test_a_resolved_incident_is_not_joined(memory: Memory) -> None:
    first = record(memory, "a")
    memory.incidents.resolve(first, "fixed", "ann")
    second = record(memory, "a")
    assert second != first
    assert memory.get_incident(second)["status"] == "open"


def test_a_runbook_is_linked_with_the_content_it_had(memory: Memory) -> None:
    for digest in ("old", "old", "new"):
        turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
        incident = memory.finish_turn(
            turn,
            "finished",
            report=a_report("a", "b"),
            record_incident=True,
            runbooks={"a": digest, "other": "x"},
        )
    assert incident is not None
    links = memory.get_incident(incident)["runbooks"]
    assert [(link["runbook"], link["digest"]) for link in links] == [("a", "new"), ("a", "old")]


def test_seen_before_and_last_fixed_by(memory: Memory, clock: Clock) -> None:
    first = record(memory, "a")
    record(memory, "a", service="other")
    memory.incidents.resolve(first, "a bigger card.", "ann")
    clock.time += timedelta(days=3)
    third = record(memory, "a")
    assert memory.incidents.history(memory.get_incident(third)["fingerprint"]) == {
        "times": 3,
        "fixed_by": "a bigger card.",
        "fixed_in": first,
    }


def test_the_rules_say_that_it_was_seen_before() -> None:
    row = {"id": "i-1", "match": "exact", "last_seen": "2026-06-01T00:00", "resolution": ""}
    report = a_report(
        "a", similar=[{**row, "times": 3, "fixed_by": "more RAM.", "fixed_in": "i-1"}]
    )
    said = summary(report | {"verdict": "likely"})
    assert said.endswith("Seen 3 times before, last on 2026-06-01; last fixed by: more RAM. (i-1).")
    like = {**row, "match": "family", "title": "T", "resolution": "less."}
    assert summary(a_report("a", similar=[like])).endswith(
        "Like i-1 of 2026-06-01: T; fixed by: less."
    )


def test_secrets_never_reach_the_disk(memory: Memory, tmp_path: Path) -> None:
    session = memory.start_session(f"about {TOKEN}")
    turn = memory.start_turn(session, "ask", f"is {TOKEN} valid?", {"service": TOKEN})
    call = {"call": "c", "name": "n", "state": "ok", "summary": TOKEN, "content": f"x {TOKEN}"}
    memory.record_call(turn, {**call, "arguments": {"filter": TOKEN}})
    report = a_report("a", hypotheses=[{"title": TOKEN, "why": "", "against": ""}])
    incident = memory.finish_turn(
        turn, "finished", answer=f"no, {TOKEN}", author="model", report=report, record_incident=True
    )
    assert incident is not None
    memory.incidents.note(incident, f"tried {TOKEN}", "ann")
    memory.incidents.resolve(incident, f"new {TOKEN}", "ann")
    memory.sessions.rename(session, f"token {TOKEN}")
    memory.audit.record("change", {"env": TOKEN}, result=TOKEN)
    memory.close()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert TOKEN.encode() not in written
    assert "⟨redacted:".encode() in written


def test_a_runbooks_command_that_names_a_secret_stays_a_command(memory: Memory) -> None:
    step = "gcloud run services update --update-secrets HF_TOKEN=hf-token:latest"
    report = a_report("a")
    report["causes"][0]["fix"] = [step]
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    answer = f"Do this:\n1. {step}\nToken: {TOKEN}"
    memory.finish_turn(turn, "finished", answer=answer, author="rules", report=report)
    (row,) = memory.file.rows("SELECT answer, report FROM turns WHERE id = ?", turn)
    assert step in row["report"]
    assert f"1. {step}" in row["answer"]
    assert TOKEN not in row["answer"]


def test_what_was_recorded_is_not_undone_by_a_late_cancel(memory: Memory) -> None:
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    memory.finish_turn(turn, "recorded", answer="done", author="rules", report=a_report("a"))
    memory.finish_turn(turn, "cancelled")
    found = memory.recorded_turn(turn)
    assert found is not None
    assert (found["answer"], bool(found["report"])) == ("done", True)


@pytest.mark.parametrize("text", ["", "   ", "x" * (TEXT_LIMIT + 1)])
def test_an_empty_or_endless_note_is_refused(memory: Memory, text: str) -> None:
    incident = record(memory, "a")
    for act in (memory.incidents.note, memory.incidents.resolve):
        with pytest.raises(UsageError):
            act(incident, text, "ann")
    assert kinds(memory.get_incident(incident)) == ["opened"]


def test_a_deleted_incident_is_gone_everywhere(memory: Memory) -> None:
    gone, kept = record(memory, "a"), record(memory, "b")
    memory.incidents.note(gone, "zebra", "ann")
    with memory.file.write():
        memory.incidents.delete(gone)
    assert memory.incidents.search("zebra") == []
    assert [row["id"] for row in memory.incidents.search("title")] == [kept]
    words = memory.file.rows("SELECT count(*) AS n FROM incident_words")
    assert words[0]["n"] == 1
    assert (
        memory.file.rows("SELECT 1 FROM search_terms WHERE term = 'zebra' AND documents > 0") == []
    )


def test_a_corrected_resolution_takes_its_old_words_along(memory: Memory) -> None:
    incident = record(memory, "a")
    memory.incidents.resolve(incident, "zebra", "ann")
    found = memory.incidents.resolve(incident, "lion", "ann")
    assert found["resolution"] == "lion"
    assert memory.incidents.search("zebra") == []
    counts = memory.file.rows("SELECT term, documents FROM search_terms WHERE documents < 1")
    assert counts == [{"term": "zebra", "documents": 0}]
