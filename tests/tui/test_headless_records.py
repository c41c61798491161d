from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.memory import Memory
from tui import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state.db"
    monkeypatch.setenv("GEMMA_SRE_STATE", str(path))
    monkeypatch.setenv("GEMMA_SRE_CONFIG", str(tmp_path / "none.toml"))
    return path


@pytest.fixture
def run(state: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        code = cli.main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def recorded(state: Path, report: dict[str, Any]) -> tuple[str, str]:
    memory = Memory.open(state)
    session = memory.start_session()
    turn = memory.start_turn(session, "diagnose", "diagnose gemma", {})
    memory.record_call(turn, {"call": "probe-logs", "name": "logs", "state": "ok"})
    incident = memory.finish_turn(
        turn,
        "finished",
        answer="It is the \x1b[31mkernel.",
        author="rules",
        report=report,
        record_incident=True,
        runbooks={"wna16-no-kernel": "ab" * 32},
    )
    memory.close()
    assert incident
    return incident, session


def test_an_incident_from_search_to_post_mortem(
    run: Run, recorded: tuple[str, str], tmp_path: Path
) -> None:
    incident, _ = recorded
    assert incident in run("incident", "search", "int4", "kernel")[1]
    code, out, _ = run("incident", "search", incident, "--json")
    assert (code, json.loads(out)[0]["match"]) == (0, "exact")
    assert "No recorded" in run("incident", "search", "zzzz")[1]
    assert "looks like FP8" in run("incident", "note", incident, "looks", "like", "FP8")[1]
    code, out, _ = run("incident", "note", incident, "rolled back", "--action", "--json")
    assert json.loads(out)["timeline"][-1]["kind"] == "action"
    assert "Resolution: more memory" in run("incident", "resolve", incident, "more", "memory")[1]
    assert "fixed by: more memory" in run("incident", "list")[1]
    shown = run("incident", "show", incident)[1]
    assert "resolved    more memory (" in shown
    code, out, _ = run("incident", "export", incident)
    assert code == 0
    assert out.startswith("# Post-mortem: ")
    assert "rolled back" in out
    target = tmp_path / "pm.md"
    assert run("incident", "export", incident, "--output", str(target))[0] == 0
    assert target.read_text() == out
    code, _, err = run("incident", "export", incident, "--output", str(target))
    assert (code, "there already" in err) == (2, True)
    assert json.loads(run("incident", "export", incident, "--json")[1])["id"] == incident


def test_a_session_from_list_to_deletion(run: Run, recorded: tuple[str, str], state: Path) -> None:
    incident, session = recorded
    assert "diagnose gemma" in run("session")[1]
    assert json.loads(run("session", "list", "--json")[1])[0]["id"] == session
    code, out, _ = run("session", "show", session)
    assert code == 0
    assert incident in out
    assert "\x1b" not in out
    assert "is called the int4 night now" in run("session", "rename", session, "the int4 night")[1]
    assert run("session", "export", "the int4 night")[1].startswith("# Session the int4 night")
    whole = json.loads(run("session", "export", session, "--json")[1])
    assert whole["turns"][0]["calls"][0]["name"] == "logs"
    code, _, err = run("session", "delete", session)
    assert (code, "--yes" in err) == (2, True)
    assert json.loads(run("session", "delete", session, "--yes", "--json")[1]) == {
        "deleted": session
    }
    assert run("session", "show", session)[0] == 2
    assert "No sessions" in run("session", "list")[1]
    assert incident in run("incident", "list")[1]


def test_the_audit_log_is_shown_exported_and_verified(
    run: Run, recorded: tuple[str, str], tmp_path: Path
) -> None:
    assert "tool_call  logs" in run("audit", "show")[1]
    assert run("audit", "show", "--kind", "nope")[0] == 2
    assert json.loads(run("audit", "show", "--json")[1])[0]["kind"] == "tool_call"
    code, out, _ = run("audit", "verify", "--json")
    found = json.loads(out)
    assert (code, found["entries"], found["problems"]) == (0, 1, [])
    log = tmp_path / "audit.jsonl"
    assert run("audit", "export", "--output", str(log))[0] == 0
    assert run("audit", "verify", str(log), "--head", found["head"])[0] == 0
    log.write_text(log.read_text().replace('"ok"', '"no"'))
    code, out, _ = run("audit", "verify", str(log))
    assert (code, "entry 1 was changed" in out) == (1, True)
    for wrong in ("[1]", "nonsense", '{"number": 1}'):
        log.write_text(wrong)
        assert run("audit", "verify", str(log))[0] == 2
    assert run("audit", "verify", "/nonexistent")[0] == 2
    assert run("audit", "verify", "--head", "x")[0] == 2
    assert run("audit", "verify", "--head", f"9:{'0' * 64}")[0] == 1


def test_prune_says_what_goes_and_asks(run: Run, recorded: tuple[str, str]) -> None:
    assert run("state", "prune")[0] == 2
    assert run("state", "prune", "--older-than", "soon")[0] == 2
    code, out, _ = run("state", "prune", "--older-than", "90d", "--dry-run")
    assert (code, "Would forget 0 sessions" in out) == (0, True)
    assert run("state", "prune", "--older-than", "90d")[0] == 2
    code, out, _ = run("state", "prune", "--older-than", "90d", "--yes", "--json")
    assert json.loads(out)["sessions"] == 0
    assert "before" in run("state", "prune", "--older-than", "90d", "--yes")[1]


def test_wrong_usage_of_records_is_one_sentence(run: Run, recorded: tuple[str, str]) -> None:
    for words in (
        ("incident", "note", recorded[0], " "),
        ("incident", "resolve", "nope", "x"),
        ("incident", "search", "x", "--limit", "0"),
        ("session", "rename", "nope", "x"),
        ("session", "show", ""),
        ("audit", "show", "--limit", "-1"),
        ("state",),
    ):
        code, out, err = run(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
