from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tui.cli import main

Export = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def lines_of(capsys: Captured) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_root_cause_prints_exception_reasons_option_and_what_was_skipped(
    export_of: Export, capsys: Captured
) -> None:
    assert main(["logs", "root-cause", str(export_of())]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Exception: vllm\S+PositionCacheError\n", shown)
    assert "Reasons:\n  The mode compact halves the cache.\n" in shown
    assert "rotary_cache_mode = 'compact' (the exception's own words name it)" in shown
    assert "Had no effect (vLLM does not know them): VLLM_X" in shown
    assert "Skipped:\n" in shown
    assert "Runbook: none knows it" in shown


def test_root_cause_as_json_and_without_a_failure(export_of: Export, capsys: Captured) -> None:
    assert main(["logs", "root-cause", str(export_of()), "--json"]) == 0
    (cause,) = json.loads(capsys.readouterr().out)["causes"]
    assert cause["blamed"][0]["option"] == "rotary_cache_mode"
    assert main(["logs", "root-cause", str(export_of(fails=False))]) == 3
    assert "Nothing failed" in capsys.readouterr().out


def test_patterns_add_up_and_are_remembered(export_of: Export, capsys: Captured) -> None:
    path = str(export_of())
    assert main(["logs", "patterns", path, "--max", "3"]) == 0
    *rows, other, total = lines_of(capsys)
    counts = [int(row.split()[0]) for row in rows[1:] if re.match(r" +\d+ ", row)]
    assert sum(counts) + int(other.split()[0]) == int(total.split()[0]) == 16
    assert main(["logs", "patterns", path, "--json", "--no-record"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["service"] == "gemma"
    assert sum(p["count"] for p in whole["patterns"]) + whole["other"] == whole["total"]


def test_assignments_are_one_id_a_line(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "plain.log"
    path.write_text("port 1 opened\nall went well\nport 2 opened\n")
    assert main(["logs", "patterns", str(path), "--json", "--assignments"]) == 0
    first, second, third = lines_of(capsys)
    assert first == third != second
    assert re.fullmatch(r"[0-9a-f]{12}", first)


def test_patterns_of_the_cloud_have_a_lift_and_novelty(capsys: Captured) -> None:
    command = ["logs", "patterns", "--demo", "int4-kernel-l4", "--since", "6h", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["total"] > 50
    assert all(pattern["lift"] is not None for pattern in report["patterns"])
    assert report["source"] == "cloud"


def test_read_filters_and_escapes(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "x.log"
    path.write_text("one \x1b[2J line\nERROR two [bold]\nthree\n")
    assert main(["logs", "read", str(path), "--contains", "o", "--limit", "2"]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out
    assert "[bold]" in shown.out
    assert main(["logs", "read", str(path), "--severity", "error", "--json"]) == 0
    (found,) = [json.loads(line) for line in lines_of(capsys)]
    assert found["text"] == "ERROR two [bold]"
    assert main(["logs", "read", str(path), "--severity", "loud"]) == 2
    assert "is no severity" in capsys.readouterr().err


def test_a_cloud_reading_that_was_limited_says_how_to_go_on(capsys: Captured) -> None:
    where = ["--demo", "int4-kernel-l4", "--since", "6h", "--json"]
    assert main(["logs", "read", *where, "--limit", "30"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 30
    assert re.search(r"go on with --from \S+ --to \S+ --page-token \S+", shown.err)


def test_tail_shows_what_is_new(capsys: Captured) -> None:
    where = ["--demo", "int4-kernel-l4", "--since", "6h", "--rounds", "1", "--poll", "0.01"]
    assert main(["logs", "tail", *where]) == 0
    assert len(lines_of(capsys)) > 50


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["logs", "read", "--limit", "0", "x"], "--limit must be at least 1"),
        (["logs", "tail", "a", "b"], "one file"),
        (["logs", "tail", "-"], "can't be followed"),
        (["logs", "patterns", "--assignments"], "needs a file"),
        (["logs", "root-cause", "none.json"], "none.json"),
        (["logs", "read", "--since", "1h", "--from", "2026-01-01"], "exclude each other"),
    ],
)
def test_wrong_use_is_one_sentence(words: list[str], says: str, capsys: Captured) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 1


class TestBadInput:
    """What is whole is used, and what was not is said, in one sentence each."""

    def run(self, path: Path, capsys: Captured, *more: str) -> tuple[int, str, str]:
        code = main(["logs", "root-cause", str(path), *more])
        shown = capsys.readouterr()
        assert "Traceback (most" not in shown.err
        return code, shown.out, shown.err

    def test_a_truncated_json_array(self, export_of: Export, capsys: Captured) -> None:
        path = export_of()
        whole = path.read_text()
        path.write_text(whole[: whole.rindex('"insertId"') + 80])
        code, out, err = self.run(path, capsys)
        assert code == 0
        assert "PositionCacheError" in out
        said = r"the JSON array is cut after entry 15: 15 of them used, \d+ bytes after it were not"
        assert re.search(said, err)

    def test_binary(self, tmp_path: Path, capsys: Captured) -> None:
        path = tmp_path / "core.bin"
        path.write_bytes(bytes(range(256)) * 64)
        code, out, err = self.run(path, capsys)
        assert (code, out) == (2, "")
        assert "is binary, not a log. Give JSON as gcloud prints it" in err

    def test_a_line_of_10_mb(self, tmp_path: Path, capsys: Captured) -> None:
        path = tmp_path / "long.log"
        path.write_bytes(
            b"INFO starts\n" + b"x" * 10_000_000 + b"\nValueError: the end of it all\n"
        )
        code, out, err = self.run(path, capsys)
        assert code == 0
        assert "the end of it all" in out
        assert "1 line over 256 KiB cut there; the longest had 10,000,000 bytes" in err

    def test_invalid_utf_8(self, tmp_path: Path, capsys: Captured) -> None:
        path = tmp_path / "latin.log"
        path.write_bytes(b"caf\xe9 opens\nValueError: the caf\xe9 is closed today\n")
        code, out, err = self.run(path, capsys)
        assert code == 0
        assert "the caf� is closed today" in out
        assert "2 lines with invalid UTF-8" in err

    def test_clocks_out_of_order(self, export_of: Export, capsys: Captured) -> None:
        path = export_of()
        entries: list[Any] = json.loads(path.read_text())
        path.write_text(json.dumps(entries[::2] + entries[1::2]))
        code, out, _ = self.run(path, capsys)
        assert code == 0
        assert "The mode compact halves the cache." in out

    def test_an_empty_file(self, tmp_path: Path, capsys: Captured) -> None:
        path = tmp_path / "empty.log"
        path.touch()
        code, _, err = self.run(path, capsys)
        assert code == 2
        assert "is empty. Give a log that has entries." in err

    def test_a_runbook_with_broken_front_matter_and_one_that_backtracks(
        self, tmp_path: Path, export_of: Export, capsys: Captured
    ) -> None:
        assert main(["runbook", "draft", "--logs", str(export_of()), "--rules-only"]) == 0
        good = capsys.readouterr().out
        folder = tmp_path / "runbooks"
        folder.mkdir()
        (folder / "broken.md").write_text("---\nid: [a\n---\n")
        rules = re.compile(r"^rules:\n(?:[- ].*\n)+", re.MULTILINE)
        look = rules.sub("rules:\n- line: '(?=x)y'\n", good)
        slow = rules.sub("rules:\n- line: '^(a+)+$|PositionCacheError'\n", good)
        (folder / "look.md").write_text(look)
        (folder / "slow.md").write_text(slow.replace("id: ", "id: slow-", 1))
        assert main(["runbook", "list", "--json"]) == 0
        problems = json.loads(capsys.readouterr().out)["problems"]
        assert len(problems) == 2
        assert "broken.md: the front matter is not valid YAML on line" in problems[0]
        assert "look.md: rules[0].line is not a usable expression" in problems[1]
        assert "RE2 syntax applies" in problems[1]
        assert main(["runbook", "approve", str(folder / "slow.md"), "--yes"]) == 0
        log = tmp_path / "aaa.log"
        log.write_text("a" * 200_000 + "!\n" + "ValueError: of no kind that is known\n")
        started = time.monotonic()
        main(["diagnose", "--logs", str(log), "--rules-only", "--no-record", "--json"])
        assert time.monotonic() - started < 10
        assert "of no kind that is known" in capsys.readouterr().out
