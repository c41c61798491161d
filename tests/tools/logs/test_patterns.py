"""Mining: counts add up, order and chunks don't matter, and the rank says what is new."""

from __future__ import annotations

import csv
import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.domain import LogRecord, Severity
from tools.errors import UsageError
from tools.logs import pattern_keys, patterns
from tools.logs.pattern_merge import MANY, MANY_CODES, MANY_SIZES, merge_templates
from tools.logs.patterns import PatternMiner, mine_file, mine_lines, template_id, template_of

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT.parent / "shared" / "data" / "loghub"
START = datetime(2026, 6, 6, 3, 0, tzinfo=UTC)

words = st.sampled_from(["exit", "status", "7", "404", "x9", "a", "b", "\n", "\0", "🙂", "fp8", ""])
texts = st.one_of(st.lists(words, max_size=6).map(" ".join), st.text(max_size=20))


@given(st.lists(texts, max_size=60), st.integers(1, 5))
@settings(max_examples=200)
def test_counts_add_up(lines: list[str], limit: int) -> None:
    miner = PatternMiner(limit, assignments=True)
    miner.add_lines(lines)
    for line in lines:
        miner.add(line)
    report = miner.report()
    assert report.total == 2 * len(lines)
    assert sum(pattern.count for pattern in report.patterns) + report.other == report.total
    assert len(report.patterns) <= limit
    assert sum(report.counts.values()) == report.total
    assert len(report.assignments) == report.total
    for pattern in report.patterns:
        assert report.assignments.count(pattern.id) == pattern.count
    assert report.assignments[: len(lines)] == report.assignments[len(lines) :]


@given(st.lists(texts, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_grouping_does_not_depend_on_order(lines: list[str], random: Any) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)
    groups = []
    for order in (lines, shuffled):
        miner = PatternMiner(1000)
        miner.add_lines(order)
        groups.append({p.id: (p.template, p.count) for p in miner.report().patterns})
    assert groups[0] == groups[1]


def test_codes_past_the_limit_are_amounts_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_CHUNK", 7)
    lines = [f"job done, status {code}" for code in range(100, 100 + 2 * MANY_CODES)]
    for order in (lines, lines[::-1]):
        miner = PatternMiner()
        miner.add_lines(order)
        (pattern,) = miner.report().patterns
        assert (pattern.template, pattern.count) == ("job done, status <*>", len(lines))
    miner = PatternMiner()
    miner.add_lines(lines[:MANY_CODES])
    assert len(miner.report().patterns) == MANY_CODES


def test_an_id_beside_codes_does_not_merge_them() -> None:
    miner = PatternMiner()
    miner.add_lines(["call ended, status: 404", "call ended, status: 500"] * 3)
    miner.add_lines(f"call ended, status: 3f{n}a" for n in range(100))
    counts = {p.template: p.count for p in miner.report().patterns}
    assert counts == {
        "call ended, status: 404": 3,
        "call ended, status: 500": 3,
        "call ended, status: <*>": 100,
    }


def test_sizes_of_allocations_stay_while_they_are_few() -> None:
    def mine(count: int) -> int:
        miner = PatternMiner()
        miner.add_lines(f"Tried to allocate {n}.50 GiB. GPU 0" for n in range(count))
        return len(miner.report().patterns)

    assert mine(MANY_SIZES) == MANY_SIZES
    assert mine(MANY_SIZES + 1) == 1


def test_a_word_of_many_is_a_value_and_one_of_few_is_not() -> None:
    names = ["queue " + chr(97 + n) * 3 + " was drained by hand" for n in range(MANY)]
    assert set(merge_templates(names).values()) == {"queue <*> was drained by hand"}
    assert set(merge_templates(names[1:]).values()) == set(names[1:])
    codes = [f"it did exit({n}) all by itself" for n in range(MANY)]
    assert set(merge_templates(codes).values()) == set(codes)


def test_chunks_give_the_same_as_single_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"worker {n} exit code {n % 5} after {n}.5 s" for n in range(500)] + ["a", "", "a 1"]
    one = PatternMiner(assignments=True)
    one.add_lines(lines)
    monkeypatch.setattr(patterns, "_CHUNK", 3)
    other = PatternMiner(assignments=True)
    other.add_lines(iter(lines))
    assert one.report().assignments == other.report().assignments


def test_what_a_pattern_tells() -> None:
    miner = PatternMiner()
    for n in range(10):
        miner.add(
            f"took {n % 2} s on card {n}",
            time=START + timedelta(minutes=n),
            severity=Severity.WARNING if n == 4 else Severity.INFO,
            instance=f"i{n % 3}",
            revision="r1",
            ref=f"ref{n}",
        )
    report = miner.report()
    (pattern,) = report.patterns
    assert pattern.template == "took <*> on card <*>"
    assert (pattern.count, pattern.instances, pattern.revisions) == (10, 3, 1)
    assert (pattern.first, pattern.last) == (START, START + timedelta(minutes=9))
    assert pattern.severity is Severity.WARNING
    assert pattern.variables[0] == (("0 s", 5), ("1 s", 5))
    assert len(pattern.variables[1]) == 3
    assert [example.ref for example in pattern.examples] == ["ref0", "ref5", "ref9"]
    assert pattern.novel
    assert pattern.lift is None
    assert json.loads(json.dumps(report.to_json()))["patterns"][0]["severity"] == "WARNING"


def test_rank_novelty_and_lift() -> None:
    before, after = PatternMiner(), PatternMiner()
    before.add_lines(["all is well"] * 50 + ["cache miss 7"] * 3)
    after.add_lines(["all is well"] * 50 + ["cache miss 9"] * 63 + ["ERROR no route"] + ["odd one"])
    baseline = before.report()
    report = after.report(baseline=baseline, known=set(baseline.counts))
    assert [p.template for p in report.patterns] == [
        "ERROR no route",
        "odd one",
        "cache miss <*>",
        "all is well",
    ]
    lift = {p.template: p.lift for p in report.patterns}
    assert lift == {
        "ERROR no route": 2.0,
        "odd one": 2.0,
        "cache miss <*>": 16.0,
        "all is well": 1.0,
    }
    assert [p.novel for p in report.patterns] == [True, True, False, False]


def test_burst_compares_with_an_even_spread() -> None:
    miner = PatternMiner()
    for n in range(640):
        miner.add("steady", time=START + timedelta(seconds=n * 10))
    for _ in range(64):
        miner.add("all at once", time=START + timedelta(seconds=100))
    burst = {p.template: p.burst for p in miner.report().patterns}
    assert burst["steady"] < 1.5
    assert burst["all at once"] > 40


def test_the_limit_on_templates_holds_and_counts_still_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    miner = PatternMiner(assignments=True)
    monkeypatch.setattr(miner._index, "max_templates", 10)
    letters = "abcdefghijklmnopqrstuvwxyz"
    miner.add_lines(f"{a}{b}" for a in letters for b in letters)
    report = miner.report()
    assert report.total == 676 == sum(p.count for p in report.patterns) + report.other
    assert report.assignments.count("other") == 666


def test_caches_may_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern_keys, "_CACHE", 5)
    monkeypatch.setattr(patterns, "_CHUNK", 4)
    lines = [f"{chr(97 + n % 26)} exit {n % 7} fp{n % 3} {n}" for n in range(300)]
    miner = PatternMiner(1000, assignments=True)
    miner.add_lines(lines)
    got = miner.report().assignments
    assert got == tuple(template_id(template_of(line)) for line in lines)


def test_a_file_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_BLOCK", 64)
    path = tmp_path / "x.log"
    path.write_bytes(b"a 1\r\nb \xff\xfe 2\n\na 2\n" + b"z" * 10_000 + b"\nno end 5")
    report = mine_lines(path, assignments=True)
    assert report.total == 6
    assert len(set(report.assignments)) == 5
    assert {p.template: p.count for p in report.patterns}["a <*>"] == 2
    assert report.patterns[0].examples[0].ref.startswith("x.log:")
    with pytest.raises(UsageError, match="can't be read"):
        mine_lines(tmp_path / "absent")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert mine_lines(path).total == 0


def test_records_are_mined_with_what_is_known_of_them() -> None:
    records = [
        LogRecord(ref=f"id{n}", text=f"exit({n % 2})", time=START, severity=Severity.ERROR)
        for n in range(4)
    ]
    report = mine_file(iter(records))
    assert {p.template: p.count for p in report.patterns} == {"exit(0)": 2, "exit(1)": 2}
    assert report.first == report.last == START


def test_a_miner_needs_room() -> None:
    with pytest.raises(UsageError):
        PatternMiner(0)


def _benchmark() -> Any:
    spec = importlib.util.spec_from_file_location(
        "benchmark_patterns", ROOT / "benchmarks" / "patterns.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_grouping_accuracy_by_hand() -> None:
    accuracy = _benchmark().grouping_accuracy
    assert accuracy([1, 1, 2, 2], "aabb") == (1.0, 1.0)
    # {a} is right; b is split in two: 2 of 4 lines, 1 of 3 predicted and 1 of 2 true groups
    assert accuracy([1, 1, 2, 3], "aabb") == (0.5, 2 / 5)
    assert accuracy([], []) == (1.0, 1.0)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the labelled samples are not here")
def test_accuracy_on_labelled_samples() -> None:
    benchmark = _benchmark()
    scores = []
    for path in sorted(SAMPLES.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assigned = benchmark.assign_ours([row["content"] for row in rows])
        scores.append(benchmark.grouping_accuracy(assigned, [row["event_id"] for row in rows]))
    assert len(scores) == 8
    assert sum(ga for ga, _ in scores) / 8 >= 0.92
    assert sum(fga for _, fga in scores) / 8 >= 0.93


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_SAMPLED", 100)
    miner = PatternMiner()
    for n in range(500):
        miner.add(f"line of thirty characters {n % 10}{n}")
        miner.add(f"other {n}" + "x" * 5_000)
    report = miner.report()
    assert report.total == 1000
    assert sum(len(text) for t in miner._tallies.values() for text in t.texts) < 100 + 2 * 4096
    assert all(pattern.examples for pattern in report.patterns)
