"""metrics: the server's own figures over a window, judged, once or again and again."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from tools.measure.reach import Reached
    from tools.measure.slo import Objective, Standing
    from tools.measure.verdicts import Verdict
    from tools.measure.windows import MetricsWindow

FOUND = 1  # exit code when a threshold is broken
MIN_INTERVAL = 0.05  # seconds
_ROWS = (
    ("running", "requests running", "{:g}"),
    ("waiting", "requests waiting", "{:g}"),
    ("kv_usage", "KV cache in use", "{:.1%}"),
    ("requests_per_s", "requests ended", "{:.3g}/s"),
    ("prompt_tokens_per_s", "prompt tokens", "{:.4g}/s"),
    ("output_tokens_per_s", "output tokens", "{:.4g}/s"),
    ("preemptions", "preemptions", "{:g}"),
    ("error_ratio", "errors", "{:.2%}"),
    ("prefix_hit_rate", "prefix cache hits", "{:.1%}"),
    ("acceptance_rate", "drafted tokens accepted", "{:.1%}"),
)
_TIMES = (
    ("ttft", "time to first token", ("p50", "p95", "p99")),
    ("tpot", "time per output token", ("p50", "p95")),
    ("inter_token", "between tokens", ("p50", "p95", "p99")),
    ("queue", "in the queue", ("p50", "p95")),
    ("e2e", "whole request", ("p50", "p95")),
)
_MARKS = {"found": "✗", "not yet": "◌", "ok": "✓", "unknown": "?"}


def run_metrics(args: argparse.Namespace) -> int:
    """Print windows of the metrics; return 1 if the last one breaks a threshold."""
    import asyncio

    try:
        return asyncio.run(_metrics(args))
    except KeyboardInterrupt:
        if args.watch:
            return 0
        raise


async def _metrics(args: argparse.Namespace) -> int:
    import contextlib

    from tools.errors import UsageError
    from tools.measure.reach import reach
    from tui.running import settings_of

    if not MIN_INTERVAL <= args.interval <= 3600:
        raise UsageError(f"--interval must be between {MIN_INTERVAL} and 3600 seconds.")
    async with contextlib.AsyncExitStack() as stack:
        settings = settings_of(args)
        if args.demo:
            from agent.demo import open_demo

            settings = await stack.enter_async_context(open_demo(args.demo, settings))
        reached = await reach(
            settings.cloud_config(),
            settings.endpoint_config(),
            service=args.service or settings.service,
            kind=settings.kind,
            wake=args.wake,
        )
        if reached.asleep:
            _asleep(args, reached)
            return 0
        return await _watch(args, reached, settings.state.parent)


async def _watch(args: argparse.Namespace, reached: Reached, folder: Path) -> int:
    import asyncio
    import time

    from tools.errors import EndpointError
    from tools.load.query import read_metrics_of
    from tools.measure.history import History
    from tools.measure.slo import count_of, standing
    from tools.measure.verdicts import Watch
    from tools.measure.windows import Reading, window

    objectives = _objectives(args, folder)
    bounds: dict[str, float] = {
        one.kind: one.threshold for one in objectives if one.threshold is not None
    }
    watch = Watch(objectives=bounds)
    history = History(folder, reached.endpoint.url)

    async def read() -> Reading:
        metrics = await read_metrics_of(reached.endpoint, reached.token)
        if metrics is None:
            raise EndpointError(
                f"{reached.endpoint.url}/metrics gives no metrics.",
                fix="Check that the endpoint is up and is vLLM.",
            )
        return Reading(time.monotonic(), metrics)

    before = await read()
    number = 0
    while True:
        await asyncio.sleep(args.interval)
        after = await read()
        number += 1
        seen = window(before, after)
        verdicts = watch.judge(seen)
        now = time.time()
        counts = {one.name: count_of(one, after.metrics, now) for one in objectives}
        history.add(now, {name: count for name, count in counts.items() if count})
        kept = history.read() if objectives else {}
        standings = [standing(one, kept.get(one.name, ()), now) for one in objectives]
        _show(args, reached, seen, verdicts, standings)
        before = after
        if (not args.watch and number >= max(args.count, 1)) or 0 < args.count <= number:
            return FOUND if any(verdict.state == "found" for verdict in verdicts) else 0


def _objectives(args: argparse.Namespace, folder: Path) -> Sequence[Objective]:
    from pathlib import Path

    from tools.measure.slo import read_objectives

    path = Path(args.slo) if args.slo else folder / "slo.toml"
    return read_objectives(path) if args.slo or path.exists() else ()


def _show(
    args: argparse.Namespace,
    reached: Reached,
    seen: MetricsWindow,
    verdicts: Sequence[Verdict],
    standings: Sequence[Standing],
) -> None:
    import json

    from tui.plain import write

    if args.json:
        told: dict[str, Any] = {
            "schema": 1,
            "endpoint": reached.endpoint.url,
            "window": seen.to_json(),
            "unknown": list(seen.unknown()),
            "verdicts": [verdict.to_json() for verdict in verdicts],
            "objectives": [one.to_json() for one in standings],
        }
        write(json.dumps(told) + "\n")
    else:
        if args.watch and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        write(metrics_text(reached.endpoint.url, seen, verdicts, standings) + "\n")
    sys.stdout.flush()


def metrics_text(
    url: str,
    seen: MetricsWindow,
    verdicts: Sequence[Verdict],
    standings: Sequence[Standing] = (),
) -> str:
    """Return a window as text; what the server does not tell is named at its end."""
    head = f"{url}, the last {seen.seconds:.1f} s"
    lines = [head + (", the server restarted in them" if seen.restarted else "")]
    for name, title, form in _ROWS:
        value = getattr(seen, name)
        if value is not None:
            lines.append(f"  {title:<24} {form.format(value)}")
    for name, title, parts in _TIMES:
        values = [(part, getattr(seen, f"{name}_{part}")) for part in parts]
        known = [f"{part} {value * 1000:.4g}" for part, value in values if value is not None]
        if known:
            lines.append(f"  {title:<24} {', '.join(known)} ms")
    if not seen.bounded:
        lines.append("  a quantile lies beyond the largest bucket: it is at least what is shown")
    for verdict in verdicts:
        if verdict.state in ("found", "not yet"):
            mark = _MARKS[verdict.state]
            lines.append(
                f"{mark} {verdict.state} {verdict.id} ({verdict.severity}): {verdict.says}"
            )
    ok = sum(verdict.state == "ok" for verdict in verdicts)
    lines.append(f"{_MARKS['ok']} {ok} of {len(verdicts)} thresholds are kept")
    for one in standings:
        lines += _standing_lines(one)
    unknown = seen.unknown()
    if unknown:
        lines.append(f"? not told, or nothing happened: {', '.join(unknown)}")
    return "\n".join(lines)


def _standing_lines(one: Standing) -> list[str]:
    left = "no requests yet" if one.left is None else f"{one.left:.1%} of the budget left"
    days = one.covered / 86_400
    lines = [
        f"{one.objective.name}: {one.objective.target:.4g} over {one.objective.days:g} days, {left}"
        f" ({days:.2g} days observed)"
    ]
    for burn in one.burns:
        rate = "no requests" if burn.rate is None else f"burns at {burn.rate:.3g}"
        seen = "" if burn.covered >= burn.window * 0.99 else f", {burn.covered / 60:.0f} min seen"
        mark = f" → {burn.asks}" if burn.alerting else ""
        lines.append(f"  {burn.window / 3600:g} h: {rate} (alert at {burn.alert_at:g}{seen}){mark}")
    return lines


def _asleep(args: argparse.Namespace, reached: Reached) -> None:
    import json

    from tui.plain import write

    if args.json:
        write(json.dumps({"schema": 1, "endpoint": reached.endpoint.url, "asleep": True}) + "\n")
    else:
        write(f"{reached.target.service} is scaled to zero and was not woken; --wake asks it.\n")
