"""The JSON result files of vllm bench serve, guidellm and aiperf, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tools.load.imported_cells import make_summary
from tools.load.runs import Cell

Row = Mapping[str, Any]


def from_vllm(rows: Sequence[Row]) -> tuple[dict[str, Any], list[Cell]]:
    """Return provenance and cells of ``vllm bench serve --save-result`` (vLLM 0.8 to 0.32)."""
    cells = []
    for row in rows:
        completed = int(row["completed"])
        failed = int(row.get("failed", int(row["num_prompts"]) - completed))
        rate = row.get("request_rate")
        rate = float(rate) if rate not in (None, "inf") and math.isfinite(float(rate)) else None
        notes = ["vllm bench serve counts a stream that died in the middle as completed"]
        ttfts, itls = row.get("ttfts") or [], row.get("itls") or []
        samples = {}
        if ttfts and len(ttfts) == len(itls):
            whole = [
                (first + sum(gaps)) * 1000 for first, gaps in zip(ttfts, itls, strict=True) if first
            ]
            samples = {"ttft": [value * 1000 for value in ttfts if value], "e2e": whole}
        cells.append(
            Cell(
                input=_typical(row.get("input_lens"), row.get("total_input_tokens"), completed),
                output=_typical(row.get("output_lens"), row.get("total_output_tokens"), completed),
                concurrency=row.get("max_concurrency") if rate is None else None,
                rate=rate,
                summary=make_summary(
                    seconds=float(row["duration"]),
                    attempted=completed + failed,
                    succeeded=completed,
                    requests_per_s=float(row["request_throughput"]),
                    output_tokens_per_s=float(row["output_throughput"]),
                    prompt_tokens_per_s=(row.get("total_input_tokens") or 0) / row["duration"],
                    ttft=_vllm_times(row, "ttft"),
                    tpot=_vllm_times(row, "tpot"),
                    gap=_vllm_times(row, "itl"),
                    e2e=_vllm_times(row, "e2el"),
                    notes=notes,
                ),
                samples=samples,
            )
        )
    first = rows[0]
    return {
        "source": "vllm-bench-serve",
        "model": first.get("model_id"),
        "started": first.get("date"),
        "loop": "closed" if cells[0].rate is None else "poisson",
    }, cells


def from_guidellm(rows: Sequence[Row]) -> tuple[dict[str, Any], list[Cell]]:
    """Return provenance and cells of guidellm's JSON output (0.3 to 0.8.1)."""
    # 0.8 keeps what was asked for beside the benchmarks, earlier ones inside each.
    asked = (rows[0].get("config") or {}).get("spec") or {}
    cells, model = [], str((asked.get("backend") or {}).get("model") or "")
    for benchmark in rows[0]["benchmarks"]:
        metrics = benchmark["metrics"]
        totals = metrics["request_totals"]
        config = benchmark.get("config") or {}
        strategy = config.get("strategy") or (benchmark.get("args") or {}).get("strategy") or {}
        done = int(totals["successful"])
        rate = strategy.get("rate")
        streams = strategy.get("streams") or strategy.get("max_concurrency")
        if strategy.get("type_") == "synchronous":
            streams = 1
        seconds = float(benchmark.get("duration") or 0.0)
        cells.append(
            Cell(
                input=_count(_stat(metrics, "prompt_token_count").get("p50")),
                output=_count(_stat(metrics, "output_token_count").get("p50")),
                concurrency=_count(streams) if rate is None else None,
                rate=float(rate) if rate is not None else None,
                summary=make_summary(
                    seconds=seconds,
                    attempted=done + int(totals.get("errored") or 0),
                    succeeded=done,
                    requests_per_s=_stat(metrics, "requests_per_second").get("mean") or 0.0,
                    output_tokens_per_s=_stat(metrics, "output_tokens_per_second").get("mean")
                    or 0.0,
                    ttft=_stat(metrics, "time_to_first_token_ms"),
                    tpot=_stat(metrics, "time_per_output_token_ms"),
                    gap=_stat(metrics, "inter_token_latency_ms"),
                    e2e={
                        name: None if value is None else value * 1000
                        for name, value in _stat(metrics, "request_latency").items()
                    },
                    held=_stat(metrics, "request_concurrency").get("mean") or math.nan,
                ),
            )
        )
        backend = config.get("backend") or {}
        model = model or str(backend.get("model") or "")
    loop = "closed" if cells and cells[0].rate is None else "constant"
    return {"source": "guidellm", "model": model or None, "loop": loop}, cells


def from_aiperf(rows: Sequence[Row]) -> tuple[dict[str, Any], list[Cell]]:
    """Return provenance and cell of aiperf's ``profile_export_aiperf.json`` (to 0.13)."""
    row = rows[0]
    config = row.get("input_config") or {}
    # 0.13 has a list of phases and of models where earlier ones have "loadgen" and "endpoint".
    phases = [one for one in config.get("phases") or [] if one.get("kind") == "profiling"]
    load = phases[0] if phases else config.get("loadgen") or {}
    endpoint = config.get("endpoint") or {}
    items = (config.get("models") or {}).get("items") or []
    done = int(_figure(row, "request_count", "avg") or 0)
    failed = int(_figure(row, "error_request_count", "avg") or 0)
    rate = load.get("request_rate", load.get("rate"))
    models = [one.get("name") for one in items] or endpoint.get("model_names") or [None]
    cell = Cell(
        input=_count(_figure(row, "input_sequence_length", "p50")),
        output=_count(_figure(row, "output_sequence_length", "p50")),
        concurrency=_count(load.get("concurrency")) if rate is None else None,
        rate=float(rate) if rate is not None else None,
        summary=make_summary(
            seconds=_figure(row, "benchmark_duration", "avg") or 0.0,
            attempted=done + failed,
            succeeded=done,
            requests_per_s=_figure(row, "request_throughput", "avg") or 0.0,
            output_tokens_per_s=_figure(row, "output_token_throughput", "avg") or 0.0,
            ttft=_aiperf_times(row, "time_to_first_token"),
            gap=_aiperf_times(row, "inter_chunk_latency"),
            tpot=_aiperf_times(row, "inter_token_latency"),
            e2e=_aiperf_times(row, "request_latency"),
        ),
    )
    return {
        "source": "aiperf",
        "model": models[0],
        "started": row.get("start_time"),
        "loop": "closed" if rate is None else "constant",
    }, [cell]


def _vllm_times(row: Row, name: str) -> dict[str, float | None]:
    found = {"mean": row.get(f"mean_{name}_ms"), "p50": row.get(f"median_{name}_ms")}
    for quantile in ("p90", "p95", "p99"):
        found[quantile] = row.get(f"{quantile}_{name}_ms")
    return found


def _stat(metrics: Row, name: str) -> dict[str, float | None]:
    told = (metrics.get(name) or {}).get("successful") or {}
    percentiles = told.get("percentiles") or {}
    return {
        "mean": told.get("mean"),
        "p50": told.get("median"),
        "p90": percentiles.get("p90"),
        "p95": percentiles.get("p95"),
        "p99": percentiles.get("p99"),
        "low": told.get("min"),
        "high": told.get("max"),
    }


def _aiperf_times(row: Row, name: str) -> dict[str, float | None]:
    wanted = {"mean": "avg", "low": "min", "high": "max"}
    names = ("mean", "p50", "p90", "p95", "p99", "low", "high")
    return {ours: _figure(row, name, wanted.get(ours, ours)) for ours in names}


def _figure(row: Row, name: str, part: str) -> float | None:
    told = row.get(name)
    value = told.get(part) if isinstance(told, Mapping) else None
    if value is None:
        return None
    scale = (
        {"s": 1000.0, "us": 1e-3, "ns": 1e-6}.get(str(told.get("unit")), 1.0)
        if (isinstance(told, Mapping) and name != "benchmark_duration")
        else 1.0
    )
    return float(value) * scale


def _typical(lengths: Any, total: Any, count: int) -> int | None:
    if lengths:
        return int(median(lengths))
    return round(total / count) if total and count else None


def _count(value: Any) -> int | None:
    return None if value is None else round(float(value))
