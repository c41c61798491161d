from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit import FIELDS, GUARDS, audited, check_entries, check_head, entry_hash
from agent.memory import Memory
from agent.messages import BrainDown, Reply
from tools.errors import StateError, UsageError


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    opened = Memory.open(tmp_path / "state.db")
    for number in range(5):
        opened.audit.record("change", {"step": number}, result="done")
    yield opened
    opened.close()


def tamper(memory: Memory, *statements: str) -> None:
    """Do what somebody with the file and a bit of patience does."""
    with contextlib.closing(sqlite3.connect(memory.path)) as db:
        for guard in GUARDS:
            db.execute(f"DROP TRIGGER {guard}")
        for statement in statements:
            db.execute(statement)
        db.commit()


def problems(memory: Memory) -> str:
    return "\n".join(memory.audit.verify().problems)


def test_a_whole_log_has_no_problems(memory: Memory) -> None:
    check = memory.audit.verify()
    assert (check.entries, check.problems) == (5, ())
    assert check.head.startswith("5:")
    entries = memory.audit.entries()
    assert [entry["details"] for entry in entries] == [{"step": n} for n in range(5)]
    assert all("@" in entry["who"] and entry["result"] == "done" for entry in entries)
    assert [entry["number"] for entry in memory.audit.entries(2)] == [4, 5]
    assert memory.audit.entries(kind="approval") == []


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "new.db")
    assert memory.audit.verify().problems == ()
    memory.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET result = 'x'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE number = 2",
        "INSERT INTO audit VALUES (9, '', '', '', '', '', '', '')",
        "INSERT INTO audit VALUES (6, '', '', '', '', '', 'wrong', '')",
    ],
)
def test_state_db_refuses_to_change_what_is_logged(memory: Memory, statement: str) -> None:
    with pytest.raises(StateError, match=r"append-only|follow the last"), memory.file.write():
        memory.file.execute(statement)
    assert memory.audit.verify().problems == ()


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE audit SET result = 'refused' WHERE number = 3"], "entry 3 was changed"),
        (["UPDATE audit SET details = '{}' WHERE number = 5"], "entry 5 was changed"),
        (["DELETE FROM audit WHERE number = 2"], "entry 2 is missing"),
        (["DELETE FROM audit WHERE number IN (2, 3)"], "entries 2 to 3 are missing"),
        (["DELETE FROM audit WHERE number = 1"], "entry 1 is missing"),
        (["DELETE FROM audit WHERE number > 3"], "entries 4 to 5 were cut off the end"),
        (
            ["DELETE FROM audit WHERE number > 3", "UPDATE sqlite_sequence SET seq = 3"],
            "state.db.audit-head knows entry 5, and the log ends with entry 3",
        ),
        (["DELETE FROM audit"], "entries 1 to 5 were cut off the end"),
        ([], "the guards"),
    ],
)
def test_tampering_is_found(memory: Memory, statements: list[str], said: str) -> None:
    tamper(memory, *statements)
    assert said in problems(memory)


def test_an_entry_forged_with_its_hash_breaks_the_chain(memory: Memory) -> None:
    entry = memory.file.rows("SELECT * FROM audit WHERE number = 3")[0] | {"who": "nobody"}
    tamper(
        memory, f"UPDATE audit SET who = 'nobody', hash = '{entry_hash(entry)}' WHERE number = 3"
    )
    assert "entry 4 does not follow the entry before it" in problems(memory)


def test_a_whole_forged_chain_differs_from_the_head(memory: Memory) -> None:
    kept = memory.audit.verify().head
    forged, previous = [], ""
    for entry in memory.audit.export():
        entry |= {"who": "nobody", "previous": previous}
        entry["hash"] = previous = entry_hash(entry)
        forged.append(
            f"UPDATE audit SET who = 'nobody', previous = '{entry['previous']}',"
            f" hash = '{previous}' WHERE number = {entry['number']}"
        )
    tamper(memory, *forged)
    assert "entry 5 is not the one that state.db.audit-head knows" in problems(memory)
    memory.path.with_name("state.db.audit-head").write_text(f"5:{previous}\n")
    assert "entry 5 is not" in "\n".join(memory.audit.verify(kept).problems)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is missing"), ("rubbish", "can't be read"), ("é", "can't be read")],
)
def test_a_lost_head_is_said(memory: Memory, content: str | None, said: str) -> None:
    head = memory.path.with_name("state.db.audit-head")
    if content is None:
        head.unlink()
    else:
        head.write_text(content)
    assert said in problems(memory)


def test_a_head_that_lags_behind_after_a_crash_is_no_problem(memory: Memory) -> None:
    with memory.file.write():
        memory.audit.append("change", {})
    assert memory.audit.verify().problems == ()


def test_a_log_that_was_started_anew_is_not_taken_for_the_old_one(memory: Memory) -> None:
    memory.close()
    for path in memory.path.parent.glob("state.db*"):
        if not path.name.endswith("audit-head"):
            path.unlink()
    again = Memory.open(memory.path)
    again.audit.record("change", {})
    assert "knows entry 5, and the log ends with entry 1" in problems(again)
    again.close()


def test_an_export_can_be_checked_elsewhere(memory: Memory) -> None:
    entries = [json.loads(json.dumps(row)) for row in memory.audit.export()]
    assert tuple(entries[0]) == FIELDS
    check = check_entries(entries)
    assert check.problems == ()
    assert check_head(check, entries, check.head).problems == ()
    shorter = check_entries(entries[:3])
    assert "knows entry 5" in check_head(shorter, entries[:3], check.head).problems[0]
    assert "stands after" in check_entries(reversed(entries)).problems[-1]
    with pytest.raises(UsageError):
        check_head(check, entries, "no head")


@given(st.data())
def test_any_edit_of_any_field_is_found(data: Any) -> None:
    entries, previous = [], ""
    for number in range(1, 5):
        entry = dict.fromkeys(FIELDS, "x") | {"number": number, "previous": previous}
        entry["hash"] = previous = entry_hash(entry)
        entries.append(entry)
    assert check_entries(entries).problems == ()
    victim = data.draw(st.integers(0, 3))
    field = data.draw(st.sampled_from(FIELDS[1:]))
    value = data.draw(st.text().filter(lambda text: text != entries[victim][field]))
    entries[victim] = {**entries[victim], field: value}
    assert check_entries(entries).problems


def test_tool_calls_are_audited_without_their_content(memory: Memory) -> None:
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    call = {"call": "c", "name": "read_logs", "state": "failed", "content": "private words"}
    memory.record_call(turn, {**call, "arguments": {"limit": 5}})
    (entry,) = memory.audit.entries(kind="tool_call")
    assert entry["result"] == "failed"
    assert entry["details"]["arguments"] == {"limit": 5}
    assert "private" not in json.dumps(entry)


async def test_model_requests_are_audited_by_size(memory: Memory) -> None:
    async def ask(messages: Any, tools: Any, *, max_tokens: int) -> Reply:
        return Reply("fine", "", (), "stop", 120, 7)

    url = "https://user:secret@gemma.example:8443/v1"
    asked = audited(memory.audit, "t-1", url, "gemma", ask)
    reply = await asked([{"role": "user", "content": "private words"}], [{}], max_tokens=99)
    assert reply.content == "fine"
    (entry,) = memory.audit.entries(kind="model_request")
    details = entry["details"]
    assert (entry["result"], details["host"], details["model"]) == (
        *("stop", "gemma.example:8443"),
        "gemma",
    )
    assert (details["prompt_tokens"], details["max_tokens"], details["tools"]) == (120, 99, 1)
    assert "private" not in json.dumps(entry)
    assert "secret" not in json.dumps(entry)


@pytest.mark.parametrize(
    ("error", "said"),
    [(BrainDown("HTTP 503"), "failed: HTTP 503"), (asyncio.CancelledError(), "CancelledError")],
)
async def test_a_request_that_fails_is_audited_too(
    memory: Memory, error: BaseException, said: str
) -> None:
    async def ask(messages: Any, tools: Any) -> Reply:
        raise error

    with pytest.raises(type(error)):
        await audited(memory.audit, "t-1", "http://127.0.0.1:1", "gemma", ask)([], [])
    (entry,) = memory.audit.entries(kind="model_request")
    assert said in entry["result"]


def test_two_processes_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = (
        "import sys; from pathlib import Path; from agent.memory import Memory\n"
        "memory = Memory.open(Path(sys.argv[1]))\n"
        "for n in range(40): memory.audit.record('change', {'n': n})\n"
        "memory.close()"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    memory = Memory.open(path)
    check = memory.audit.verify()
    memory.close()
    assert (check.entries, check.problems) == (80, ())
