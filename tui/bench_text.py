"""Runs, plans and comparisons as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tools.load.compare import Comparison, Difference
from tools.load.facts import EndpointFacts
from tools.load.plan import Estimate, PlannedCell, SweepPlan
from tools.load.query import QueryStats
from tools.load.runs import Cell, Run
from tools.load.statistics import Distribution
from tools.load.sweep import SweepEvent
from tui.plain import one_line


def plan_text(
    plan: SweepPlan, facts: EndpointFacts, cells: Sequence[PlannedCell], guess: Estimate
) -> str:
    """Return what would run, what not and why, and what it takes."""
    lines = [
        f"{one_line(facts.model)}"
        + (f", vLLM {one_line(facts.vllm_version)}" if facts.vllm_version else "")
        + (f", {facts.max_model_len} tokens of context" if facts.max_model_len else "")
        + (f", KV cache of {facts.kv_tokens} tokens" if facts.kv_tokens else "")
    ]
    if facts.running:
        lines.append(f"! {facts.running:g} requests of others are running: figures will mix")
    if plan.search:
        what = "the knee" if plan.search == "knee" else "the highest rate inside the objective"
        lines.append(f"searching {what}, in at most {guess.cells} cells")
    else:
        lines.append(f"{guess.cells} cells run, {guess.skipped} are skipped")
        lines += [f"  – {cell.label}: {cell.skip}" for cell in cells if cell.skip]
    cost = "" if guess.usd is None else f", {guess.usd:.2f} USD"
    most = "" if guess.most_usd is None else f" and {guess.most_usd:.2f} USD"
    lines.append(f"about {_duration(guess.seconds)}{cost}")
    lines.append(f"at most {_duration(guess.most)}{most}, if last requests run into their limit")
    return "\n".join(lines)


def event_line(event: SweepEvent) -> tuple[str, bool]:
    """Return a line of progress, and whether it is the cell's last."""
    head = f"[{event.number}/{event.of}] {event.cell.label}"
    if event.progress is not None:
        failed = f", {event.progress.failed} failed" if event.progress.failed else ""
        return f"{head}: {event.progress.ended} ended, {event.progress.in_flight} in flight" + (
            failed
        ), False
    if event.result is None:
        return f"{head} …", False
    if event.result.summary is None:
        return f"{head}: skipped, {event.result.skip}", True
    return f"{head}: {cell_words(event.result)}", True


def cell_words(cell: Cell) -> str:
    """Return the figures of a cell in one line."""
    summary = cell.summary
    if summary is None:
        return f"skipped: {one_line(cell.skip)}"
    parts = [
        f"{summary.requests_per_s:.4g} req/s",
        f"{summary.output_tokens_per_s:.4g} tok/s",
    ]
    if summary.ttft:
        parts.append(f"TTFT {_ms(summary.ttft, 'p50')}/{_ms(summary.ttft, 'p95')} ms")
    if summary.tpot:
        parts.append(f"TPOT {_ms(summary.tpot, 'p50')} ms")
    if summary.goodput_share is not None:
        parts.append(f"{summary.goodput_share:.1%} inside SLO")
    for name, count in summary.failures.items():
        parts.append(f"{count} {name}")
    parts += [f"NOT VALID: {reason}" for reason in summary.invalid]
    return ", ".join(parts)


_COLUMNS = (
    ("load", 8),
    ("in→out", 11),
    ("due", 6),
    ("ok", 6),
    ("req/s", 8),
    ("tok/s", 8),
    ("TTFT p50", 9),
    ("p95", 8),
    ("gap p50", 8),
    ("TPOT p50", 8),
    ("SLO", 6),
    ("held", 6),
    ("cpu", 4),
)


def cells_text(run: Run) -> str:
    """Return the cells as a table; times in milliseconds."""
    lines = [" ".join(f"{name:>{width}}" for name, width in _COLUMNS)]
    for cell in run.cells:
        lengths = f"{cell.input or 'file'}→{'?' if cell.output is None else cell.output}"
        summary = cell.summary
        if summary is None:
            lines.append(f"{cell.load:>8} {lengths:>11} skipped: {one_line(cell.skip)}")
            continue
        share = summary.goodput_share
        texts = [
            cell.load,
            lengths,
            str(summary.attempted),
            str(summary.succeeded),
            f"{summary.requests_per_s:.4g}",
            f"{summary.output_tokens_per_s:.4g}",
            _ms(summary.ttft, "p50"),
            _ms(summary.ttft, "p95"),
            _ms(summary.chunk_gap, "p50"),
            _ms(summary.tpot, "p50"),
            "" if share is None else f"{share:.0%}",
            _plain(summary.concurrency_held),
            "" if math.isnan(summary.client_cpu) else f"{summary.client_cpu:.0%}",
        ]
        lines.append(
            " ".join(f"{text:>{width}}" for text, (_, width) in zip(texts, _COLUMNS, strict=True))
        )
        notes = [
            *(f"not valid: {reason}" for reason in summary.invalid),
            *(f"{count} {name}" for name, count in summary.failures.items()),
            *summary.details,
        ]
        lines += [f"{'':>20} {one_line(note, 100)}" for note in notes]
    return "\n".join(lines) + "\n"


def found_text(run: Run) -> str:
    """Return what a search found."""
    lines = []
    for row in run.end.get("found") or ():
        shape = f"{row.get('input') or 'file'}→{row.get('output')}"
        knee, rate = row.get("knee"), row.get("rate")
        if knee:
            sure = "" if knee["saturated"] else "; throughput still rose, so it may lie higher"
            lines.append(
                f"{shape}: knee at {knee['concurrency']:.1f} in flight, "
                f"{knee['throughput']:.4g} req/s{sure}"
            )
        elif rate:
            broken = rate.get("broken_at")
            above = f", broken at {broken:.4g}" if broken else ""
            lines.append(f"{shape}: {rate['rate']:.4g} req/s keep the objective{above}")
        else:
            lines.append(f"{shape}: nothing found")
    return "\n".join(lines) + ("\n" if lines else "")


def head_text(run: Run) -> str:
    """Return whose figures a run holds."""
    parts = [run.id, str(run.get("label") or run.get("model") or "unknown model")]
    names = ("accelerator", "region", "vllm_version", "started")
    parts += [str(run.get(name)) for name in names if run.get(name)]
    if run.get("simulated"):
        parts.append("SIMULATED")
    if not run.finished:
        parts.append("unfinished")
    return one_line(" · ".join(parts))


def list_text(runs: Sequence[Run], broken: Sequence[str]) -> str:
    """Return the runs, a line each."""
    lines = []
    for run in runs:
        best = max((c.summary.output_tokens_per_s for c in run.measured if c.summary), default=0)
        lines.append(f"{head_text(run)} · {len(run.measured)} cells, at most {best:.4g} tok/s")
    lines += [f"! {one_line(text)}" for text in broken]
    return "\n".join(lines) or "No runs are kept. `gemma-sre bench run` makes one."


def imported_text(run: Run, again: str) -> str:
    """Return what was imported and what its file does not tell."""
    unknown = [name for name in ("model", "accelerator", "vllm_version") if not run.get(name)]
    if any(cell.output is None for cell in run.cells):
        unknown.append("output length")
    lines = [f"{run.id}: {len(run.cells)} cells" + (f" ({again})" if again else "")]
    if run.get("known_as"):
        lines.append(f"  known file: {one_line(run.get('known_as'))}")
    if run.get("also_published_as"):
        lines.append(f"  also published as: {one_line(run.get('also_published_as'))}")
    if unknown:
        lines.append(f"  not told: {', '.join(unknown)}")
    return "\n".join(lines)


def compare_text(result: Comparison) -> str:
    """Return a comparison, or why there is none."""
    if result.refused:
        lines = [f"{result.first} and {result.second} can't be compared:"]
        return "\n".join([*lines, *(f"  – {one_line(reason)}" for reason in result.refused)])
    lines = [f"{result.first} → {result.second}"]
    for name, (one, other) in result.subject.items():
        lines.append(f"  {name}: {one_line(_known(one))} → {one_line(_known(other))}")
    for pair in result.pairs:
        lines.append(f"{pair.label}, repeats {pair.repeats[0]} and {pair.repeats[1]}")
        lines += [f"  – not compared: {one_line(reason)}" for reason in pair.refused]
        lines += [f"  {_difference(one)}" for one in pair.differences]
    lines += [f"not in both: {text}" for text in result.unmatched]
    return "\n".join(lines)


def query_text(stats: QueryStats) -> str:
    """Return the figures of one answer."""
    lines = [f"{stats.outcome}, finish reason {stats.finish_reason or 'none'}"]
    if stats.detail:
        lines[0] += f" ({one_line(stats.detail)})"
    times = [
        ("first reasoning token", stats.ttft_reasoning),
        ("first content token", stats.ttft_content),
        ("whole answer", stats.total),
        ("in the server's queue", stats.queue_ms),
    ]
    lines += [f"{name}: {value:.1f} ms" for name, value in times if value is not None]
    if stats.queue_ms is not None and not stats.alone:
        lines[-1] += " (mean of all requests of that time, not of this one alone)"
    thinking = f", {stats.reasoning_tokens} of them thinking" if stats.reasoning_tokens else ""
    lines.append(
        f"tokens: {stats.prompt_tokens} in, {stats.completion_tokens} out{thinking}, in "
        f"{stats.chunks} chunks"
    )
    if stats.tpot is not None and stats.tokens_per_s is not None:
        lines.append(f"per token: {stats.tpot:.2f} ms, {stats.tokens_per_s:.1f} tokens/s")
    if stats.chunk_gap is not None:
        gap = stats.chunk_gap
        lines.append(f"between chunks: p50 {gap.p50:.2f}, p95 {gap.p95:.2f}, p99 {gap.p99:.2f} ms")
    return "\n".join(lines)


def _difference(one: Difference) -> str:
    ratio = "" if one.ratio is None else f" ({one.ratio - 1:+.1%})"
    text = f"{one.figure}: {one.first:.4g} → {one.second:.4g} {one.unit}{ratio}"
    if one.interval is None:
        return f"{text}, no interval: single requests are not known"
    sure = "" if one.interval.certain else ", may be chance"
    return f"{text}, 95 % of {one.interval.low:+.3g} … {one.interval.high:+.3g}{sure}"


def _known(value: Any) -> str:
    return "not recorded" if value in (None, "") else str(value)


def _ms(found: Distribution | None, name: str) -> str:
    return "" if found is None else _plain(float(getattr(found, name)))


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
