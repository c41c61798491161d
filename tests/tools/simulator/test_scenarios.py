from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.simulator.log_entries import build_entries
from tools.simulator.monitoring_service import build_series
from tools.simulator.names import known_names
from tools.simulator.scenario import load_scenario, shipped_scenarios, validate_scenario
from tools.simulator.timeline import parse_span, parse_time

NAMES = [info.name for info in shipped_scenarios()]
SMALL = """\
name: small
title: Small
kind: cloud-run
project: p
location: us-east4
now: 2026-06-06T03:55:00Z
services:
  - name: s
    revisions:
      - {name: s-00001-abc, created: -1h, image: i}
logs:
  - {at: -5m30s, instance: a, text: "one {{time}}"}
expected: {verdict: healthy, exit_code: 0}
"""


def test_eight_are_shipped() -> None:
    assert set(NAMES) >= {
        "healthy",
        "scaled-to-zero",
        "int4-kernel-l4",
        "oom-31b-l4",
        "startup-probe-too-short",
        "gated-repo",
        "tpu-stockout",
        "logs-forbidden",
    }


@pytest.mark.parametrize("name", NAMES)
def test_shipped_scenarios_hold(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    build_series(scenario)
    entries = build_entries(scenario)
    assert len({entry.proto.insert_id for entry in entries}) == len(entries)
    assert [e.proto for e in entries] == [e.proto for e in build_entries(scenario)]
    if scenario.kind == "cloud-run":
        assert entries
    assert all(entry.time <= scenario.now for entry in entries)


@pytest.mark.parametrize("name", NAMES)
def test_container_lines_have_no_severity_and_times_agree(name: str) -> None:
    for entry in build_entries(load_scenario(name)):
        log = str(entry.view["logName"])
        if log.endswith(("stdout", "stderr")):
            assert "severity" not in entry.view
            text = str(entry.view["textPayload"])
            if "[core.py" in text:
                assert entry.time.strftime("%m-%d %H:%M:%S") in text


def test_names_have_a_source_and_known_resources() -> None:
    known = known_names()
    for metric in known.metrics.values():
        assert metric.metric_kind in {"GAUGE", "DELTA", "CUMULATIVE"}
        assert set(metric.resources) <= set(known.resources)


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "scenarios.md").read_text()
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    path = write(tmp_path, example)
    assert validate_scenario(path) == []
    assert load_scenario(path).expected.causes == ("wna16-no-kernel",)


def test_the_documented_chat_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "scenarios.md").read_text()
    chat = text.split("```yaml\n")[2].split("```", 1)[0]
    scenario = load_scenario(write(tmp_path, SMALL + chat))
    assert scenario.chat is not None
    assert len(scenario.chat) == 2


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_file_is_a_scenario_too(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, SMALL))
    (entry,) = build_entries(scenario)
    assert entry.view["textPayload"] == "one 06-06 03:49:30"
    assert entry.time == datetime(2026, 6, 6, 3, 49, 30, tzinfo=UTC)
    assert len(entry.proto.labels["instanceId"]) == 120


def test_a_block_repeats(tmp_path: Path) -> None:
    repeated = SMALL.replace("instance: a,", "every: 30s, times: 3,").replace("{{time}}", "{{n}}")
    entries = build_entries(load_scenario(write(tmp_path, repeated)))
    assert [entry.view["textPayload"] for entry in entries] == ["one 0", "one 1", "one 2"]
    assert entries[2].time - entries[0].time == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("kind: cloud-run", "kind: cloudrun", 3, "cloudrun"),
        ("title: Small", "titel: Small", 1, "titel"),
        ("at: -5m30s", "at: 5 minutes", 12, "is not a span"),
        ("created: -1h", "created: soon", 10, "soon"),
        ("exit_code: 0", "exit_code: 1", 13, "exits with 0"),
        ("instance: a,", "instance: a, log: nolog,", 12, "names.toml"),
        ("instance: a,", "revision: s-2,", 12, "no revision"),
        ('text: "one {{time}}"', "severity: INFO", 12, "exactly one"),
        ("    revisions:", "    traffic: {s-00001-abc: 50}\n    revisions:", 9, "sum to 100"),
        (
            "expected:",
            "series: [{metric: a/b, points: [[-1m, 1]]}]\nexpected:",
            13,
            "names.toml",
        ),
        ("name: small", "name: [", 0, "YAML"),
        ("name: small", "name: small\nextends: nothing", 2, "extends"),
    ],
)
def test_problems_are_found_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    path = write(tmp_path, SMALL.replace(old, new, 1))
    problems = validate_scenario(path)
    assert problems
    assert any(words in str(problem) for problem in problems)
    if line:
        assert line in {problem.line for problem in problems}
    with pytest.raises(UsageError):
        load_scenario(path)


def test_a_missing_file_and_a_near_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int4-kernel-l4"):
        load_scenario("int4-kernel")
    (problem,) = validate_scenario(tmp_path / "none.yaml")
    assert "can't be read" in problem.message


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_spans_read_back(micros: int) -> None:
    span = timedelta(microseconds=micros)
    left = abs(micros)
    text = "-" if micros < 0 else ""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("s", 1_000_000), ("us", 1)):
        number, left = divmod(left, size)
        text += f"{number}{unit}"
    assert parse_span(text) == span
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_time(text, now) == now + span


@given(st.text(max_size=12))
def test_other_texts_are_no_spans(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_span(text)
