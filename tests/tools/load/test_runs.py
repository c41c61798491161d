from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import tools.load
from tools.errors import StateError, UsageError
from tools.load.imported_cells import make_summary
from tools.load.runs import Cell, Run, RunWriter, find_run, list_runs, new_id, read_run, state_row

ABOUT = {"id": "20261121-000000-aaaa", "source": "gemma-sre", "model": "m", "prompts": {}}


def cell(concurrency: int, rate: float = 10.0, output: int = 16) -> Cell:
    summary = make_summary(
        seconds=1,
        attempted=10,
        succeeded=10,
        requests_per_s=rate,
        output_tokens_per_s=rate * output,
    )
    return Cell(128, output, concurrency=concurrency, summary=summary, samples={"ttft": [1.5, 2.5]})


def write(folder: Path, *cells: Cell, **more: Any) -> Path:
    with RunWriter(folder, {**ABOUT, **more}) as writer:
        for one in cells:
            writer.add(one)
    return writer.path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, cell(1), Cell(128, 16, concurrency=2, skip="too much"))
    run = read_run(path)
    assert run.finished
    assert run.get("model") == "m"
    assert [(one.load, one.skip) for one in run.cells] == [("c=1", ""), ("c=2", "too much")]
    assert run.cells[0].samples == {"ttft": [1.5, 2.5]}
    assert run.measured[0].summary is not None
    assert run.measured[0].summary.requests_per_s == 10
    assert state_row(run)["best_output_tokens_per_s"] == 160


def test_lines_keep_to_the_schema(tmp_path: Path) -> None:
    schema = json.loads((Path(tools.load.__file__).parent / "run.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for line in write(tmp_path, cell(1)).read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "cell", "input": "x"}, schema)


def test_a_changed_figure_breaks_the_seal(tmp_path: Path) -> None:
    path = write(tmp_path, cell(1))
    path.write_text(path.read_text().replace('"requests_per_s":10', '"requests_per_s":99'))
    with pytest.raises(UsageError, match="changed after its run ended"):
        read_run(path)


def test_a_killed_run_is_read_as_far_as_it_came(tmp_path: Path) -> None:
    path = write(tmp_path, cell(1), cell(2))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    run = read_run(path)
    assert not run.finished
    assert len(run.cells) == 1


def test_an_exception_seals_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path, ABOUT) as writer:
        writer.add(cell(1))
        raise KeyboardInterrupt
    assert read_run(writer.path).finished


def test_runs_are_found(tmp_path: Path) -> None:
    write(tmp_path, cell(1), id="20261121-000000-aaaa")
    write(tmp_path, cell(1), id="20261122-000000-bbbb")
    (tmp_path / "broken.jsonl").write_text("{}\n")
    assert find_run(tmp_path, "20261122").id.endswith("bbbb")
    assert find_run(tmp_path, "aaaa").id.endswith("aaaa")
    assert find_run(tmp_path, str(tmp_path / "20261121-000000-aaaa.jsonl")).id.endswith("aaaa")
    with pytest.raises(UsageError, match="2 runs match"):
        find_run(tmp_path, "2026")
    with pytest.raises(UsageError, match="bench list"):
        find_run(tmp_path, "zzzz")
    found = list(list_runs(tmp_path))
    assert sum(isinstance(one, Run) for one in found) == 2
    assert sum(isinstance(one, UsageError) for one in found) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 65])
def test_an_id_is_never_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        RunWriter(tmp_path, {**ABOUT, "id": name})


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path, cell(1))
    with pytest.raises(StateError):
        RunWriter(tmp_path, ABOUT)


def test_another_schema_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"kind":"run","schema":99,"id":"x","source":"y"}\n')
    with pytest.raises(UsageError, match="schema 99"):
        read_run(path)
    path.write_text("[1]\n")
    with pytest.raises(UsageError, match="not a line of a run"):
        read_run(path)


def test_ids_sort_by_time() -> None:
    from datetime import UTC, datetime

    first = new_id(datetime(2026, 11, 21, 1, tzinfo=UTC))
    assert first < new_id(datetime(2026, 11, 21, 2, tzinfo=UTC))
