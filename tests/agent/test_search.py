from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import search_index
from agent.memory import Memory
from agent.search_index import tokens
from agent.signature import cause_keys, fingerprint_of
from runbooks.catalog import Catalog


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "memory.py"
    spec = importlib.util.spec_from_file_location("memory_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    opened = Memory(tmp_path_factory.mktemp("search") / "state.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def filled(memory: Memory) -> dict[str, str]:
    wanted = {
        "kernel": a_report("wna16", "No int4 kernel for this GPU", "vllm", "ValueError: none fits"),
        "both": a_report("wna16", "No int4 kernel for this GPU", "vllm", "ValueError: none fits"),
        "kv": a_report("kv", "The KV cache is too small", "memory", "ValueError: larger than"),
        "disk": a_report("pattern:1", "OSError: No space left on device", "APIServer", "x"),
    }
    wanted["both"]["causes"].append(wanted["kv"]["causes"][0])
    ids = {}
    for key, report in wanted.items():
        turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
        found = memory.finish_turn(turn, "finished", report=report, record_incident=True)
        assert found is not None
        ids[key] = found
    memory.incidents.resolve(ids["disk"], "a boot disk of 300 GB", "ann")
    return ids


def a_report(cause: str, title: str, component: str, quote: str) -> dict[str, Any]:
    return {
        "target": {"service": "gemma", "kind": "cloud-run"},
        "verdict": "confirmed",
        "causes": [{"id": cause, "title": title, "component": component, "evidence": ["E1"]}],
        "evidence": [{"id": "E1", "source": "logging", "ref": "r", "time": None, "quote": quote}],
        "stats": {},
    }


def matches(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["id"], row["match"]) for row in rows]


def test_exact_comes_first_then_a_shared_cause_then_the_family(
    memory: Memory, filled: dict[str, str]
) -> None:
    like = a_report("wna16", "No int4 kernel for this GPU", "vllm", "ValueError: none fits")
    assert matches(memory.incidents.similar(like, 3)) == [
        (filled["kernel"], "exact"),
        (filled["both"], "cause"),
    ]
    other = a_report("new", "Quite another thing", "memory", "builtins.ValueError: too large")
    assert set(matches(memory.incidents.similar(other, 3))) == {
        (filled["kv"], "family"),
        (filled["both"], "family"),
    }
    worded = a_report("pattern:2", "OSError: No space left on the device", "Worker", "y")
    assert matches(memory.incidents.similar(worded, 3)) == [(filled["disk"], "words")]
    unlike = a_report("pattern:3", "RuntimeError: NCCL on the device", "Worker", "z")
    assert memory.incidents.similar(unlike, 3) == []
    assert memory.incidents.similar({**like, "causes": []}, 3) == []


def test_a_person_finds_by_id_fingerprint_cause_exception_service_or_words(
    memory: Memory, filled: dict[str, str]
) -> None:
    def first(text: str) -> tuple[str, str]:
        return matches(memory.incidents.search(text, 3))[0]

    assert first(filled["kv"]) == (filled["kv"], "exact")
    print_of = memory.get_incident(filled["kernel"])["fingerprint"]
    assert first(print_of) == (filled["kernel"], "exact")
    assert first("kv")[1] == "cause"
    assert first("torch.OSError") == (filled["disk"], "family")
    assert first("gemma")[1] == "family"
    assert first("small CACHE") == (filled["kv"], "words")
    assert first("boot disks 300 gb") == (filled["disk"], "words")
    assert memory.incidents.search("nothing of the kind zzz", 3) == []


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
@example('" OR * NEAR("a" b, 5) AND NOT')
@example("title:kernel ^gpu {a b}: c*")
@example("'; DROP TABLE incidents; --")
@example("a\x00b")
@example("kernel OR")
def test_a_query_is_data(memory: Memory, filled: dict[str, str], text: str) -> None:
    for row in memory.incidents.search(text, 5):
        assert row["id"] in filled.values()


@given(st.text(max_size=300))
def test_tokens_are_normal_distinct_and_stable(text: str) -> None:
    found = tokens(text)
    assert len(found) == len(set(found))
    assert all(1 < len(token) <= 40 and token.isalnum() for token in found)
    assert tokens(text.upper().lower()) == tokens(text.upper().lower().swapcase().lower())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("probes failed", "probe failing"),
        ("OutOfMemoryError", "out of memory error"),
        ("caching", "cached caches"),
        ("Café", "cafe"),
        ("exit 137", "exit 137"),
    ],
)
def test_words_meet_in_their_normal_form(one: str, other: str) -> None:
    assert set(tokens(other)) <= set(tokens(one))


def test_what_tells_failures_apart_stays_apart() -> None:
    assert not set(tokens("exit 137")) >= set(tokens("exit 1370"))
    assert tokens("fp8") != tokens("fp4")
    assert tokens("pid=1234567890 0x7ffd") == ["pid", "0x7ffd"]


def test_signatures_are_of_causes_whatever_their_order() -> None:
    one, other = a_report("a", "A", "c", "q"), a_report("b", "B", "c", "q")
    both = {**one, "causes": one["causes"] + other["causes"]}
    turned = {**one, "causes": other["causes"] + one["causes"]}
    assert fingerprint_of(both) == fingerprint_of(turned) != fingerprint_of(one)
    (key,) = cause_keys(a_report("a", "It failed", "vllm", "raise torch.cuda.OutOfMemoryError: x"))
    assert (key.component, key.exception) == ("vllm", "OutOfMemoryError")


def test_the_labelled_incidents_are_found(bench: ModuleType, tmp_path: Path) -> None:
    incidents, queries = bench.labelled(Catalog.load())
    assert {key for query in queries for key in query["finds"]} <= set(incidents)
    memory = Memory(tmp_path / "state.db", bench.Clock())
    try:
        bench.fill(memory, 300, of=200)
        ids = bench.fill_labelled(memory, incidents)
        bench.fill(memory, 300, seed=8, of=200)
        found, missed = bench.recall(memory, ids, queries)
    finally:
        memory.close()
    assert found >= bench.RECALL_BOUND, missed


def test_common_words_are_answered_by_the_newest(
    memory: Memory, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "MAX_MATCHES", 1)
    rows = memory.incidents.search("int4 kernel", 3)
    assert {row["id"] for row in rows} == {filled["kernel"], filled["both"]}


def test_an_older_index_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    memory = Memory(path)
    turn = memory.start_turn(memory.start_session(), "diagnose", "?", {})
    report = a_report("a", "Zebra crossing", "c", "q")
    incident = memory.finish_turn(turn, "finished", report=report, record_incident=True)
    with memory.file.write():
        memory.file.execute("UPDATE incident_texts SET version = 0")
        memory.file.execute("DELETE FROM incident_words")
        memory.file.execute("DELETE FROM search_terms")
        memory.file.execute(
            "INSERT INTO incident_texts (fingerprint, incident, version) VALUES ('x', '', 0)"
        )
    memory.close()
    memory = Memory(path)
    try:
        assert [row["id"] for row in memory.incidents.search("zebra")] == [incident]
        assert len(memory.file.rows("SELECT * FROM incident_texts")) == 1
    finally:
        memory.close()
