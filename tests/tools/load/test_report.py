from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from tools.errors import UsageError
from tools.load.chart import line_chart, short, ticks
from tools.load.figures import FIGURES, Line, figure, usd_per_million
from tools.load.heatmap import heatmap
from tools.load.imported_cells import make_summary
from tools.load.report import html_report
from tools.load.runs import Cell, Run


def run(model: str = "gemma-4-12b-it") -> Run:
    cells = []
    for size in (128, 1024):
        for level in (1, 2, 4, 8):
            rate = level * 1000 / size
            summary = make_summary(
                seconds=10,
                attempted=100,
                succeeded=100,
                requests_per_s=rate,
                output_tokens_per_s=rate * 16,
                ttft={"p50": 10.0 * level, "p95": 20.0 * level},
                e2e={"mean": 100.0 * level},
                held=level,
            )
            cells.append(Cell(size, 16, concurrency=level, summary=summary))
    first = cells[0].summary
    assert first is not None
    cells[0] = replace(cells[0], summary=replace(first, invalid=("the client used 90% of a core",)))
    cells.append(Cell(8192, 16, concurrency=8, skip="more than max_model_len"))
    about = {
        "id": "r",
        "source": "gemma-sre",
        "model": model,
        "usd_per_hour": 3.76,
        "loop": "closed",
    }
    return Run(about, tuple(cells), sha256="abc")


def test_a_report_needs_nothing_else() -> None:
    html = html_report(run())
    assert not re.search(r"(src|href)=|url\(|@import|<script", html)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in html
    assert html.count("<figure>") == 3  # no objective was given, so no goodput
    assert "Dollars per million output tokens" in html
    assert "more than max_model_len" in html
    assert "not valid: the client used 90%" in html
    assert 'class="mark hollow' in html


def test_every_picture_is_xml() -> None:
    for svg in re.findall(r"<svg.*?</svg>", html_report(run())):
        ElementTree.fromstring(svg)


def test_foreign_text_is_never_markup() -> None:
    html = html_report(run("<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_heatmap_tells_by_number_and_marks() -> None:
    text = heatmap(run(), "throughput", width=200)
    lines = text.splitlines()
    assert lines[1].split() == ["128→16", "1024→16", "8192→16"]
    assert [line.split()[0] for line in lines[2:6]] == ["c=1", "c=2", "c=4", "c=8"]
    assert "!125 ░░" in lines[2]
    assert "1000 ██" in lines[5]
    assert lines[5].rstrip().endswith("–")
    assert "! not valid" in text
    assert "– skipped" in text


def test_a_heatmap_keeps_to_a_width() -> None:
    for width in (30, 40, 80):
        assert max(len(line) for line in heatmap(run(), width=width).splitlines()[1:6]) <= width


@pytest.mark.parametrize("name", [one.name for one in FIGURES])
def test_every_figure_has_a_heatmap(name: str) -> None:
    assert figure(name).title in heatmap(run(), name)


def test_an_unknown_figure_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="throughput, requests"):
        heatmap(run(), "speed")


def test_cost_is_price_by_throughput() -> None:
    summary = run().cells[3].summary
    assert summary is not None
    assert usd_per_million(run(), summary) == pytest.approx(3.76 / 3600 / 1000 * 1e6)


def test_ticks_are_round() -> None:
    assert ticks(0, 105) == [0, 25, 50, 75, 100]
    assert ticks(0, 0.9) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert ticks(5, 5) == [5]
    assert [short(value) for value in (0, 3.14159, 12_345, 2_500_000)] == [
        "0",
        "3.142",
        "12.35k",
        "2.5M",
    ]


def test_a_chart_of_nothing_is_nothing() -> None:
    assert line_chart("t", "x", "y", [Line("a", ())]) == ""
    assert "<circle" not in line_chart("t", "x", "y", [Line("a", ((1, 1),))], log_x=True)
    many = [Line(str(n), ((1, n), (2, n))) for n in range(9)]
    assert "3 more in the table" in line_chart("t", "x", "y", many)
