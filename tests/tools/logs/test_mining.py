from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.errors import UsageError
from tools.logs.mining import mine_paths

Export = Callable[..., Path]
LINES = ["open port 80 on 10.0.0.1", "close it", "open port 443 on 10.0.0.2", "close it"]


@pytest.mark.parametrize("packed", [False, True])
def test_assignments_are_one_a_line_in_input_order(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "plain.log"
    text = "".join(f"{line}\n" for line in LINES)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    one, two, three, four = mine_paths([str(path)], assignments=True).report.assignments
    assert (one, two) == (three, four)
    assert one != two


def test_stamped_lines_keep_their_order_in_assignments(tmp_path: Path) -> None:
    path = tmp_path / "stamped.log"
    times = ("2026-06-06T03:00:09Z", "2026-06-06T03:00:01Z")
    path.write_text(f"{times[0]} later it closed\n{times[1]} first port 80 opened\n")
    found = mine_paths([str(path)], assignments=True)
    names = {pattern.id: pattern.template for pattern in found.report.patterns}
    assert ["later" in names[one] for one in found.report.assignments] == [True, False]


def test_an_export_newest_first_is_assigned_in_input_order(
    tmp_path: Path, export_of: Export
) -> None:
    path = tmp_path / "newest.json"
    entries = json.loads(export_of().read_text())[::-1]
    path.write_text(json.dumps(entries))
    found = mine_paths([str(path)], assignments=True)
    names = {pattern.id: pattern.template for pattern in found.report.patterns}
    assert len(found.report.assignments) == len(entries)
    assert "Container called exit(1)" in names[found.report.assignments[0]]
    assert "Starting new instance" in names[found.report.assignments[-1]]
    assert found.service == "gemma"


def test_counts_add_up_and_the_lift_is_against_the_baseline(tmp_path: Path) -> None:
    path = tmp_path / "now.log"
    path.write_text("".join(f"{line}\n" for line in LINES * 10))
    before = mine_paths([str(path)]).report
    path.write_text("a worker died of hunger\n" * 7 + "".join(f"{line}\n" for line in LINES))
    report = mine_paths([str(path)], baseline=before, max_patterns=2).report
    assert sum(pattern.count for pattern in report.patterns) + report.other == report.total == 11
    top = report.patterns[0]
    assert (top.template, top.lift) == ("a worker died of hunger", 8.0)


def test_what_is_shown_is_redacted_though_it_was_mined_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "secret.log"
    path.write_text("loading with token hf_abcdefghijklmnopqrstuvwxyz0123456789 now\n" * 3)
    shown = json.dumps(mine_paths([str(path)]).report.to_json())
    assert "hf_abcdef" not in shown


def test_what_is_known_is_asked_once_the_log_was_read(export_of: Export) -> None:
    asked: list[tuple[str, str, str]] = []

    def known(service: str, first: str, source: str) -> tuple[str, ...]:
        asked.append((service, first, source))
        return ()

    report = mine_paths([str(export_of())], known=known).report
    assert asked == [("gemma", "2026-06-06T03:40:10+00:00", "export-1.json")]
    assert all(pattern.novel for pattern in report.patterns)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.log"):
        mine_paths([str(tmp_path / "none.log")])
