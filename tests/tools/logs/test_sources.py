from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tools.domain import LogRecord
from tools.errors import UsageError
from tools.logs.sorting import oldest_first
from tools.logs.sources import read_logs


def read(path: Path) -> tuple[list[LogRecord], tuple[str, ...]]:
    source = read_logs([str(path)])
    return list(source), source.report.problems()


def forms(entries: list[dict[str, Any]]) -> dict[str, bytes]:
    return {
        "array": json.dumps(entries, indent=2).encode(),
        "one-line": json.dumps(entries).encode(),
        "bom": b"\xef\xbb\xbf" + json.dumps(entries, indent=2).encode(),
        "utf-16": json.dumps(entries, indent=2).encode("utf-16"),
        "lines": "\n".join(json.dumps(e) for e in entries).encode(),
        "objects": "\n".join(json.dumps(e, indent=2) for e in entries).encode(),
        "answer": json.dumps({"entries": entries}).encode(),
    }


@pytest.mark.parametrize(
    "form", ["array", "one-line", "bom", "utf-16", "lines", "objects", "answer"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_gives_the_same_records(
    form: str, packed: bool, tmp_path: Path, export: list[dict[str, Any]]
) -> None:
    data = forms(export)[form]
    path = tmp_path / "no-ending"
    path.write_bytes(gzip.compress(data) if packed else data)
    records, problems = read(path)
    assert problems == ()
    assert [r.ref for r in records] == [e["insertId"] for e in export]


def test_newest_first_is_turned_round_also_within_one_time(
    tmp_path: Path, entry: Callable[..., dict[str, Any]]
) -> None:
    entries = [entry(f"line {n}", at=n // 3, ref=f"r{n}") for n in range(30)]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(entries[::-1]))
    records, _ = read(path)
    assert [r.ref for r in records] == [f"r{n}" for n in range(30)]


def test_clocks_out_of_order_are_sorted_and_nothing_is_lost(
    tmp_path: Path, entry: Callable[..., dict[str, Any]]
) -> None:
    times = [(n * 7919) % 101 for n in range(101)]
    entries = [entry(f"line {n}", at=at, ref=f"r{n}") for n, at in enumerate(times)]
    del entries[50]["timestamp"]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(e) for e in entries))
    records, _ = read(path)
    known = [r.time for r in records if r.time is not None]
    assert len(records) == 101
    assert known == sorted(known)


@pytest.mark.parametrize("descending", [False, True])
def test_a_log_larger_than_one_run_is_sorted_on_disk(
    descending: bool, cloud: Callable[..., LogRecord]
) -> None:
    records = [cloud(f"⟨x⟩ {n}", at=n // 4, ref=f"r{n}") for n in range(1000)]
    notes: list[str] = []
    given = records[::-1] if descending else records
    assert list(oldest_first(given, notes.append, run=63)) == records
    assert notes == []


def test_without_room_for_runs_the_order_stays(
    monkeypatch: pytest.MonkeyPatch, cloud: Callable[..., LogRecord]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools.logs.sorting.tempfile.TemporaryFile", refuse)
    records = [cloud(f"{n}", at=-n, ref=f"r{n}") for n in range(50)]
    notes: list[str] = []
    assert list(oldest_first(records, notes.append, run=16)) == records
    assert "order is that of the file" in notes[0]


@pytest.mark.parametrize("cut", [0.45, 0.9, 0.999])
@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_array_gives_what_is_whole_and_says_how_much(
    cut: float, packed: bool, tmp_path: Path, export: list[dict[str, Any]]
) -> None:
    data = json.dumps(export, indent=2).encode()
    path = tmp_path / "cut.json"
    part = (
        gzip.compress(data)[: int(cut * len(gzip.compress(data)))]
        if packed
        else data[: int(cut * len(data))]
    )
    path.write_bytes(part)
    records, problems = read(path)
    assert 0 < len(records) < len(export)
    assert f"cut after entry {len(records)}: {len(records)} of them used" in problems[0]
    if packed:
        assert "gzip data ends too soon" in problems[1]


def test_an_array_that_breaks_off_in_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"textPayload": "a"}, {"textPayload": "b"} oops {"textPayload": "c"}]')
    records, problems = read(path)
    assert [r.text for r in records] == ["a", "b"]
    assert "breaks off after entry 2: 2 of them used" in problems[0]


def test_entries_that_are_none_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"textPayload": "a"}, 7, [], {}, "x", {"textPayload": "b"}]')
    records, problems = read(path)
    assert [r.text for r in records] == ["a", "b"]
    assert problems == ("4 entries skipped: not log entries.",)


def test_json_lines_with_remarks_and_a_cut_end(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'{"textPayload": "a"}\nWARNING: a remark\n[1]\n\n{"textPayload": "b\xff"}\n{"textPay'
    )
    records, problems = read(path)
    assert [r.text for r in records] == ["a", "WARNING: a remark", "b�"]
    assert problems == (
        "2 entries skipped: not log entries.",
        "1 line with invalid UTF-8: those bytes are shown as �.",
    )


def test_invalid_utf8_does_not_stop_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"textPayload": "a\xff\xfe"}, {"textPayload": "b"}]')
    records, problems = read(path)
    assert [r.text for r in records] == ["a��", "b"]
    assert len(problems) == 1


def test_a_line_of_ten_megabytes_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"first\n" + b"x" * 10_000_000 + b"\nlast \xff\n")
    records, problems = read(path)
    assert [r.ref for r in records] == ["x.log:1", "x.log:2", "x.log:3"]
    assert len(records[1].text) < 263_000
    assert records[1].text.endswith("⟨cut: 9737856 more⟩")
    assert problems == (
        "1 line with invalid UTF-8: those bytes are shown as �.",
        "1 line over 256 KiB cut there; the longest had 10,000,000 bytes.",
    )


def test_times_in_front_count_when_every_line_has_one(tmp_path: Path) -> None:
    stamped = tmp_path / "stamped.log"
    stamped.write_text("2026-06-06T03:41:48.5Z one\n2026-06-06T03:41:49.5Z ValueError: two\n")
    records, _ = read(stamped)
    assert [r.text for r in records] == ["one", "ValueError: two"]
    assert records[1].time is not None
    mixed = tmp_path / "mixed.log"
    mixed.write_text("one\n2026-06-06T03:41:49.5Z two\n")
    records, _ = read(mixed)
    assert records[1].text.startswith("2026-06-06T")
    assert records[1].time is None


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        for byte in gzip.compress(b'[{"textPayload": "a"}]'):
            os.write(writing, bytes([byte]))
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [r.ref for r in read_logs(["-"])] == ["stdin:1"]
    writer.join()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("directory", None, "is a directory"),
        ("missing", None, "does not exist"),
        ("empty", b"", "is empty"),
        ("empty.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("binary", bytes(range(256)) * 40, "is binary"),
        ("binary.gz", gzip.compress(bytes(range(256)) * 40, mtime=0), "is binary"),
        ("nul\0name", None, "can't be read"),
        ("no-entries", b"[{", "holds no whole log entry"),
        ("nothing", b"[]", "holds no whole log entry"),
        ("header.gz", b"\x1f\x8b\x08", "can't be read"),
    ],
    ids=lambda value: value.replace("\0", "-") if isinstance(value, str) else "",
)
def test_what_is_no_log_is_refused_in_one_sentence(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = str(tmp_path) if name == "directory" else str(tmp_path / name)
    if content is not None:
        Path(path).write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        list(read_logs([path]))
    assert caught.value.fix
    assert "\n" not in str(caught.value)


def test_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> io.FileIO:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x"
    path.write_text("x")
    monkeypatch.setattr("tools.logs.log_formats.io.FileIO", refuse)
    with pytest.raises(UsageError, match="can't be read: Permission denied"):
        read_logs([str(path)])


@pytest.mark.parametrize("form", ["plain", "lines", "array"])
def test_memory_does_not_grow_with_the_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Callable[..., dict[str, Any]]
) -> None:
    monkeypatch.setattr("tools.logs.sources.RUN", 250)

    def peak(count: int) -> int:
        path = tmp_path / f"{count}"
        entries = (json.dumps(entry(f"line {n} " + "x" * 2_500, at=n)) for n in range(count))
        texts = (f"line {n} " + "x" * 2_500 for n in range(count))
        match form:
            case "plain":
                path.write_text("\n".join(texts))
            case "lines":
                path.write_text("\n".join(entries))
            case "array":
                path.write_text("[" + ",".join(entries) + "]")
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_logs([str(path)])) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(300)  # imports are not the file's
    assert peak(3_000) < peak(1_500) + 1_000_000  # the other 1,500 would take 4 MB


def test_report_has_the_span(export_path: Path, export: list[dict[str, Any]]) -> None:
    source = read_logs([str(export_path)])
    list(source)
    assert source.report.entries == 269
    assert source.report.first is not None
    assert source.report.last is not None
    assert source.report.last - source.report.first > timedelta(minutes=2)
