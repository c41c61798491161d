from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.memory import Memory
from tools.errors import UsageError
from tools.logs.mining import Mined, mine_paths

Export = Callable[..., Path]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    opened = Memory.open(tmp_path / "state.db")
    yield opened
    opened.close()


def mined(path: Path, memory: Memory) -> Mined:
    found = mine_paths(
        [str(path)],
        known=lambda service, first, source: memory.patterns.known(
            service, before=first, source=source
        ),
    )
    memory.patterns.record(found.service, found.report, source=found.source)
    return found


def later(path: Path) -> Path:
    path.write_text(path.read_text().replace("2026-06-06T03", "2026-06-07T03"))
    return path


def test_the_same_log_says_the_same_twice_and_a_later_one_knows_it(
    memory: Memory, export_of: Export
) -> None:
    path = export_of()
    assert all(pattern.novel for pattern in mined(path, memory).report.patterns)
    assert all(pattern.novel for pattern in mined(path, memory).report.patterns)
    after = mined(later(export_of(held=1, asked=2, pid=3)), memory)
    assert not any(pattern.novel for pattern in after.report.patterns)


def test_a_new_pattern_ranks_before_known_ones_of_its_severity(
    memory: Memory, export_of: Export
) -> None:
    mined(export_of(fails=False), memory)
    report = mined(later(export_of()), memory).report
    flags = [pattern.novel for pattern in report.patterns]
    assert any(flags)
    assert not all(flags)
    assert flags[0]


def test_logs_without_times_are_told_by_their_name(memory: Memory, tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    for path in (one, two):
        path.write_text("the port was opened\n")
    assert mined(one, memory).report.patterns[0].novel
    assert mined(one, memory).report.patterns[0].novel
    assert not mined(two, memory).report.patterns[0].novel


def test_a_pattern_is_found_again_by_its_beginning(memory: Memory, export_of: Export) -> None:
    found = mined(export_of(), memory)
    top = found.report.patterns[0]
    kept = memory.patterns.get(top.id[:8])
    assert (kept["id"], kept["service"], kept["count"]) == (top.id, "gemma", top.count)
    assert kept["examples"][0]["text"] == top.examples[0].text
    for wrong in ("", "zzzz"):
        with pytest.raises(UsageError, match="No single pattern"):
            memory.patterns.get(wrong)
