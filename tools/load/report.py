"""A run as one HTML file that needs nothing else: curves, a table, and where it all comes from."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from tools.load.chart import line_chart, short
from tools.load.figures import curves, figure, load_of, usd_per_million
from tools.load.runs import Cell, Run
from tools.load.statistics import Distribution

_STYLE = """
:root{color-scheme:light dark;--bg:#fcfcfb;--fg:#1c1c1a;--soft:#6a6a64;--grid:#e2e1dc;
--c0:#2563c9;--c1:#c2410c;--c2:#15803d;--c3:#8b3fc4;--c4:#b0305f;--c5:#8a6d00}
@media(prefers-color-scheme:dark){:root{--bg:#171716;--fg:#ecebe6;--soft:#a09f97;--grid:#36352f;
--c0:#7fb0ff;--c1:#ff9a63;--c2:#5fd08a;--c3:#cf9bff;--c4:#ff8fb4;--c5:#e0c34d}}
:root[data-theme=light]{color-scheme:light;--bg:#fcfcfb;--fg:#1c1c1a;--soft:#6a6a64;--grid:#e2e1dc;
--c0:#2563c9;--c1:#c2410c;--c2:#15803d;--c3:#8b3fc4;--c4:#b0305f;--c5:#8a6d00}
:root[data-theme=dark]{color-scheme:dark;--bg:#171716;--fg:#ecebe6;--soft:#a09f97;--grid:#36352f;
--c0:#7fb0ff;--c1:#ff9a63;--c2:#5fd08a;--c3:#cf9bff;--c4:#ff8fb4;--c5:#e0c34d}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:1360px;
margin:0 auto;padding:24px}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:0 0 8px}
p.sub{color:var(--soft);margin:4px 0 20px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:28px 32px}
figure{margin:0}svg{width:100%;height:auto;display:block}
.grid{stroke:var(--grid)}.tick{fill:var(--soft);font-size:12px}.axis{fill:var(--soft);font-size:13px}
.line{fill:none;stroke-width:2}.mark{stroke-width:1.6}.mark.hollow{fill:var(--bg)!important}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:6px 0 0;
color:var(--soft);font-size:13px}.key{width:16px;height:12px;display:inline-block;margin-right:5px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child,.words{text-align:left}
.words{white-space:normal;min-width:200px}section{margin-top:36px}.wide{overflow-x:auto}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 20px;font-size:13px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
"""
_COLOURS = "".join(f".s{n}{{stroke:var(--c{n})}}.mark.s{n}{{fill:var(--c{n})}}" for n in range(6))


def html_report(run: Run) -> str:
    """Return the report; it follows the reader's light or dark setting."""
    title = f"{run.get('label') or run.get('model') or 'Unknown model'}"
    where = " · ".join(
        str(part)
        for part in (
            run.get("accelerator"),
            run.get("region"),
            f"vLLM {run.get('vllm_version')}" if run.get("vllm_version") else "",
            run.get("started"),
        )
        if part
    )
    loop = run.get("loop") or "unknown"
    simulated = "SIMULATED · " if run.get("simulated") else ""
    state = "" if run.finished or run.get("source") != "gemma-sre" else " · unfinished"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)} under load</title><style>{_STYLE}{_COLOURS}</style></head>",
            f"<body><h1>{escape(title)} under load</h1>",
            f'<p class="sub">{simulated}{escape(where)} · {escape(str(loop))} loop · run '
            f"{escape(run.id)}{state}</p>",
            f'<div class="charts">{"".join(_charts(run))}</div>',
            f'<section><h2>Cells</h2><div class="wide">{_table(run)}</div></section>',
            f"<section><h2>Where the figures come from</h2>{_provenance(run)}</section>",
            "</body></html>\n",
        ]
    )


def _charts(run: Run) -> list[str]:
    load = "requests a second, offered" if run.measured and run.measured[0].rate else "concurrency"
    logarithmic = load == "concurrency"
    throughput, ttft, e2e, goodput = (
        figure("throughput"),
        figure("ttft"),
        figure("e2e"),
        figure("goodput"),
    )
    has_tokens = any(cell.summary and cell.summary.output_tokens_per_s for cell in run.measured)
    rate = throughput if has_tokens else figure("requests")
    charts = [
        (
            "Throughput against latency",
            line_chart(
                "Throughput against latency",
                "mean seconds a request",
                rate.unit,
                curves(
                    run,
                    lambda _, s: _seconds(e2e.of(s)),
                    lambda _, s: rate.of(s),
                ),
            ),
        ),
        (
            "Time to first token, p50",
            line_chart(
                "Time to first token by load",
                load,
                "ms",
                curves(run, lambda c, _: load_of(c), lambda _, s: ttft.of(s)),
                log_x=logarithmic,
            ),
        ),
        (
            "Requests inside the objective, of those due",
            line_chart(
                "Goodput by load",
                load,
                "share",
                curves(run, lambda c, _: load_of(c), lambda _, s: goodput.of(s)),
                log_x=logarithmic,
                y_max=1.0,
            ),
        ),
        (
            "Dollars per million output tokens",
            line_chart(
                "Cost by load",
                load,
                "USD",
                curves(run, lambda c, _: load_of(c), lambda _, s: usd_per_million(run, s)),
                log_x=logarithmic,
            ),
        ),
    ]
    return [f"<figure><h2>{escape(name)}</h2>{svg}</figure>" for name, svg in charts if svg]


def _seconds(value: float | None) -> float | None:
    return None if value is None else value / 1000


_HEADS = (
    "load",
    "input",
    "output",
    "due",
    "failed",
    "requests/s",
    "output tokens/s",
    "TTFT p50",
    "TTFT p95",
    "TPOT p50",
    "whole p50",
    "whole p95",
    "inside SLO",
    "held",
    "client CPU",
    "notes",
)


def _table(run: Run) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEADS[:-1])
    rows = "".join(f"<tr>{_row(cell)}</tr>" for cell in run.cells)
    return (
        f'<table><thead><tr>{head}<th class="words">notes</th></tr></thead>'
        f"<tbody>{rows}</tbody></table><p class='sub'>Times in milliseconds.</p>"
    )


def _row(cell: Cell) -> str:
    start = [cell.load, str(cell.input or "file"), "?" if cell.output is None else str(cell.output)]
    summary = cell.summary
    if summary is None:
        cells = "".join(f"<td>{escape(text)}</td>" for text in start)
        span = len(_HEADS) - 3
        return f'{cells}<td class="words" colspan="{span}">skipped: {escape(cell.skip)}</td>'
    words = "; ".join(
        [
            *(f"not valid: {reason}" for reason in summary.invalid),
            *(f"{count} {name}" for name, count in summary.failures.items()),
            *summary.notes,
        ]
    )
    share = summary.goodput_share
    texts = [
        *start,
        str(summary.attempted),
        str(summary.attempted - summary.succeeded),
        _number(summary.requests_per_s),
        _number(summary.output_tokens_per_s),
        _part(summary.ttft, "p50"),
        _part(summary.ttft, "p95"),
        _part(summary.tpot, "p50"),
        _part(summary.e2e, "p50"),
        _part(summary.e2e, "p95"),
        "" if share is None else f"{share:.1%}",
        _number(summary.concurrency_held),
        "" if math.isnan(summary.client_cpu) else f"{summary.client_cpu:.0%}",
    ]
    cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
    return f'{cells}<td class="words">{escape(words)}</td>'


def _part(found: Distribution | None, name: str) -> str:
    return "" if found is None else _number(float(getattr(found, name)))


def _number(value: float) -> str:
    return "" if math.isnan(value) else short(value)


def _provenance(run: Run) -> str:
    rows: list[str] = []

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}.{key}", inner)
        elif value not in (None, "", []) and name not in ("kind",):
            rows.append(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>")

    for name, value in run.provenance.items():
        add(name, value)
    for name, value in run.end.items():
        if name != "sha256":
            add(name, value)
    add("sha256", run.sha256)
    return f"<dl>{''.join(rows)}</dl>"
