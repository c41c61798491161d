from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tools.errors import UsageError
from tools.load.compare import compare
from tools.load.heatmap import heatmap
from tools.load.imports import Said, import_file
from tools.load.report import html_report
from tools.load.runs import read_run, write_run

GRIDS = Path(__file__).parents[4] / "shared/data/benchmarks"
needs_grids = pytest.mark.skipif(not GRIDS.is_dir(), reason="the published grids are not here")

VLLM = {
    "date": "20261101-101010",
    "backend": "openai-chat",
    "model_id": "gemma-4-12b-it",
    "num_prompts": 4,
    "request_rate": "inf",
    "max_concurrency": 2,
    "duration": 2.0,
    "completed": 4,
    "failed": 0,
    "total_input_tokens": 400,
    "total_output_tokens": 64,
    "request_throughput": 2.0,
    "output_throughput": 32.0,
    "mean_ttft_ms": 50.0,
    "median_ttft_ms": 48.0,
    "p99_ttft_ms": 80.0,
    "mean_tpot_ms": 10.0,
    "median_tpot_ms": 9.5,
    "p99_tpot_ms": 12.0,
    "input_lens": [100] * 4,
    "output_lens": [16] * 4,
    "ttfts": [0.05, 0.04, 0.06, 0.05],
    "itls": [[0.01] * 15] * 4,
}


def file(tmp_path: Path, told: Any, name: str = "r.json") -> Path:
    path = tmp_path / name
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


def test_a_result_of_vllm_bench_serve(tmp_path: Path) -> None:
    run = import_file(file(tmp_path, VLLM))
    cell = run.cells[0]
    assert (cell.input, cell.output, cell.concurrency) == (100, 16, 2)
    assert cell.summary is not None
    assert cell.summary.ttft is not None
    assert (cell.summary.ttft.p50, cell.summary.ttft.p99) == (48.0, 80.0)
    assert cell.samples["e2e"][0] == pytest.approx(200)
    assert run.get("model") == "gemma-4-12b-it"
    assert run.get("prompts")["kind"] is None
    lines = "\n".join(json.dumps({**VLLM, "max_concurrency": n}) for n in (1, 2, 4))
    assert [c.concurrency for c in import_file(file(tmp_path, lines)).cells] == [1, 2, 4]
    rated = import_file(file(tmp_path, {**VLLM, "request_rate": 5.0}))
    assert (rated.get("loop"), rated.cells[0].rate) == ("poisson", 5.0)


def test_a_result_of_guidellm(tmp_path: Path) -> None:
    def stat(value: float) -> dict[str, Any]:
        return {"successful": {"mean": value, "median": value, "percentiles": {"p95": value}}}

    benchmark = {
        "duration": 10.0,
        "config": {"strategy": {"type_": "concurrent", "streams": 8}},
        "metrics": {
            "request_totals": {"successful": 50, "errored": 2, "incomplete": 1},
            "requests_per_second": stat(5.0),
            "output_tokens_per_second": stat(80.0),
            "time_to_first_token_ms": stat(33.0),
            "request_latency": stat(1.5),
            "prompt_token_count": stat(256),
            "output_token_count": stat(16),
        },
    }
    asked = {"spec": {"backend": {"kind": "openai_http", "model": "m"}}}
    run = import_file(file(tmp_path, {"config": asked, "benchmarks": [benchmark]}))
    assert run.get("model") == "m"
    cell = run.cells[0]
    assert (cell.input, cell.output, cell.concurrency) == (256, 16, 8)
    assert cell.summary is not None
    assert (cell.summary.attempted, cell.summary.succeeded) == (52, 50)
    assert cell.summary.e2e is not None
    assert cell.summary.e2e.mean == 1500


def test_a_result_of_aiperf(tmp_path: Path) -> None:
    told = {
        "request_throughput": {"unit": "requests/sec", "avg": 12.0},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 192.0},
        "request_latency": {"unit": "ms", "avg": 300.0, "p50": 290.0},
        "time_to_first_token": {"unit": "ms", "avg": 30.0, "p50": 29.0},
        "input_sequence_length": {"unit": "tokens", "avg": 100, "p50": 100},
        "output_sequence_length": {"unit": "tokens", "avg": 16, "p50": 16},
        "request_count": {"unit": "requests", "avg": 120},
        "input_config": {"loadgen": {"concurrency": 4}, "endpoint": {"model_names": ["m"]}},
    }
    phase = {"kind": "profiling", "type": "concurrency", "concurrency": 4}
    newer = {**told, "input_config": {"models": {"items": [{"name": "m"}]}, "phases": [phase]}}
    for shape in (newer, told):
        run = import_file(file(tmp_path, shape))
        assert run.get("model") == "m"
        assert run.cells[0].concurrency == 4
    assert run.cells[0].summary is not None
    assert run.cells[0].summary.requests_per_s == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("a,b\n1,2\n", "lacks columns"),
        ("concurrency,context_len,throughput\n1,x,2\n", ":2 is not a row"),
        ("concurrency,context_len,throughput\n1,8,nan\n", ":2 is not a row"),
        ('{"a": 1}', "not a result file"),
        ("{", "neither JSON"),
        ('{"benchmarks": [{}]}', "stopped"),
    ],
)
def test_a_file_that_is_not_understood_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        import_file(file(tmp_path, text))


def test_what_a_grid_does_not_say_stays_unknown(tmp_path: Path) -> None:
    path = file(tmp_path, "concurrency,context_len,throughput,avg_latency\n1,8,4,0.2\n", "g.csv")
    run = import_file(path)
    assert run.get("model") is None
    assert run.cells[0].output is None
    said = import_file(path, Said(model="m", output=32, prompts="unique"))
    assert said.cells[0].output == 32
    assert said.cells[0].summary is not None
    assert said.cells[0].summary.output_tokens_per_s == 128


@needs_grids
def test_the_published_grids(tmp_path: Path) -> None:
    runs = {path.stem: import_file(path) for path in GRIDS.glob("*.csv")}
    assert {name: len(run.cells) for name, run in runs.items()} == {
        "12B_v6e1_grid": 144,
        "12Bqat_L4_grid": 144,
        "26B_rtx6000_matrix": 45,
        "31B_rtx6000_matrix": 45,
    }
    assert {name: run.cells[0].output for name, run in runs.items()} == {
        "12B_v6e1_grid": 16,
        "12Bqat_L4_grid": 1,
        "26B_rtx6000_matrix": 128,
        "31B_rtx6000_matrix": 128,
    }
    allowed = [
        {first, second}
        for first, second in combinations(runs, 2)
        if not compare(runs[first], runs[second]).refused
    ]
    assert allowed == [{"26B_rtx6000_matrix", "31B_rtx6000_matrix"}]
    for run in runs.values():
        again = read_run(write_run(tmp_path, run))
        assert again.provenance["id"] == run.id
        assert len(again.cells) == len(run.cells)
        assert len(heatmap(again, "requests").splitlines()) > 9
        assert html_report(again).count("<tr>") == len(run.cells) + 1


@needs_grids
def test_what_the_reference_documents_compared_is_refused() -> None:
    grid = import_file(GRIDS / "12B_v6e1_grid.csv")
    as_2b = import_file(GRIDS / "12B_v6e1_grid.csv", Said(label="gemma-4-e2b-it"))
    quantised = import_file(GRIDS / "12Bqat_L4_grid.csv", Said(label="gemma-4-31b-it-qat"))
    # "The 2B equals the 12B": one file under two names.
    whats = [one.what for one in compare(grid, as_2b).refused]
    assert whats == ["model", "figures"]
    # "The TPU is eight times cheaper": 16 tokens a request against 1.
    whats = [one.what for one in compare(as_2b, quantised).refused]
    assert "output length (tokens)" in whats
    assert whats.count("model") == 2
