from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.load.compare import compare
from tools.load.imported_cells import make_summary
from tools.load.runs import Cell, Run

PROMPTS = {"kind": "unique", "ignore_eos": True, "thinking": None, "temperature": None}


def run(
    name: str,
    *,
    mean: float = 100.0,
    seed: int = 0,
    output: int = 16,
    repeats: int = 1,
    **more: Any,
) -> Run:
    random = np.random.default_rng(seed)
    cells = []
    for repeat in range(repeats):
        e2e = random.normal(mean, mean / 10, 300)
        rate = 4 * 1000 / float(e2e.mean())
        summary = make_summary(
            seconds=10,
            attempted=300,
            succeeded=300,
            requests_per_s=rate,
            output_tokens_per_s=rate * output,
            e2e={"mean": float(e2e.mean())},
            held=4.0,
        )
        samples = {"ttft": list(e2e / 4), "tpot": list(e2e / 40), "e2e": list(e2e)}
        cells.append(
            Cell(64, output, concurrency=4, repeat=repeat, summary=summary, samples=samples)
        )
    about = {"id": name, "model": "m", "label": "m", "loop": "closed", "prompts": PROMPTS, **more}
    return Run(about, tuple(cells), sha256=name)


def test_like_runs_are_compared_with_intervals() -> None:
    first = run("a", repeats=2, vllm_version="0.31")
    second = run("b", mean=110, seed=5, repeats=3, vllm_version="0.32")
    found = compare(first, second)
    assert found.refused == ()
    assert found.subject == {"vllm_version": ("0.31", "0.32")}
    pair = found.pairs[0]
    assert pair.repeats == (2, 3)
    figures = {one.figure: one for one in pair.differences}
    interval = figures["e2e p50"].interval
    assert interval is not None
    assert interval.low < 10 < interval.high
    assert interval.certain
    throughput = figures["throughput"]
    assert throughput.interval is not None
    assert throughput.interval.high < 0
    assert throughput.interval.low < throughput.second - throughput.first < throughput.interval.high


def test_a_difference_that_may_be_chance_is_not_certain() -> None:
    found = compare(run("a", seed=1), run("b", seed=2))
    assert not any(
        one.interval.certain
        for one in found.pairs[0].differences
        if one.interval and one.figure in {"e2e p50", "throughput"}
    )


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"output": 128}, "output length"),
        ({"prompts": {**PROMPTS, "kind": "identical"}}, "prompts.kind"),
        ({"prompts": {**PROMPTS, "ignore_eos": False}}, "prompts.ignore_eos"),
        ({"prompts": {**PROMPTS, "thinking": True}}, "prompts.thinking"),
        ({"loop": "poisson"}, "loop"),
        ({"label": "gemma-4-31b-it"}, "model"),
    ],
)
def test_unlike_runs_are_refused(more: dict[str, Any], what: str) -> None:
    for pair in ((run("a"), run("b", seed=9, **more)), (run("b", seed=9, **more), run("a"))):
        found = compare(*pair)
        assert what in [one.what.removesuffix(" (tokens)") for one in found.refused]
        assert found.pairs == ()


def test_what_is_not_recorded_is_not_compared() -> None:
    cells = tuple(Cell(64, None, concurrency=4, summary=cell.summary) for cell in run("a").cells)
    unknown = Run(run("a").provenance, cells, sha256="x")
    found = compare(run("b", seed=3), unknown)
    assert "does not record how long its answers were" in str(found.refused[0])


def test_one_measurement_under_two_names_is_refused() -> None:
    cells = tuple(
        Cell(64, 16, concurrency=level, summary=run("a", seed=level).cells[0].summary)
        for level in range(1, 6)
    )
    about = run("a").provenance
    first = Run({**about, "label": "12B", "model": "12B"}, cells, sha256="1")
    second = Run({**about, "id": "b", "label": "2B", "model": "2B"}, cells, sha256="2")
    found = compare(first, second)
    assert "5 of 5 shared cells have identical figures" in str(found.refused[0])


def test_a_run_against_itself_differs_in_nothing() -> None:
    found = compare(run("a"), run("a"))
    assert found.refused == ()
    assert all(one.first == one.second for one in found.pairs[0].differences)


def test_runs_without_a_common_cell_are_refused() -> None:
    other = tuple(
        Cell(128, 16, concurrency=4, summary=cell.summary) for cell in run("a", seed=8).cells
    )
    found = compare(run("a"), Run({**run("a").provenance, "id": "b"}, other, sha256="z"))
    assert [one.what for one in found.refused] == ["cells"]


def test_invalid_cells_and_survivors_are_not_compared(tmp_path: Path) -> None:
    from dataclasses import replace

    good = run("a")
    summary = good.cells[0].summary
    assert summary is not None
    for bad, what in (
        (replace(summary, invalid=("the client used 90% of a core",)), "validity"),
        (replace(summary, succeeded=200), "success"),
    ):
        cells = (replace(good.cells[0], summary=bad),)
        other = Run({**good.provenance, "id": "b"}, cells, sha256="y")
        found = compare(run("c", seed=4), other)
        assert found.pairs[0].differences == ()
        assert found.pairs[0].refused[0].what == what
