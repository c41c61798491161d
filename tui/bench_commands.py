"""bench plan, run, list, show, compare, report and import, as text or JSON."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Any

    from agent.settings import Settings
    from tools.load.plan import SweepPlan
    from tools.load.runs import Run
    from tools.load.sweep import SweepEvent
    from tools.measure.reach import Reached

REFUSED = 1  # exit code of compare for unlike runs, and of run when no cell was measured
ASK_SECONDS = 120.0  # a run expected to take longer is asked for
ASK_USD = 0.50  # and so is one expected to cost more


def run_plan(args: argparse.Namespace) -> int:
    """Print which cells would run, which not and why, how long it takes and what it costs."""
    import asyncio

    return asyncio.run(_plan(args))


async def _plan(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tools.load.facts import read_facts
    from tools.load.plan import estimate, plan_cells
    from tui.bench_text import plan_text

    plan = plan_of(args)
    async with _endpoint(args) as reached:
        facts = await read_facts(reached.endpoint, reached.token)
        cells = plan_cells(plan, facts)
        guess = estimate(plan, cells)
    if args.json:
        print_json(
            {
                "schema": 1,
                "endpoint": asdict(facts),
                "plan": plan.to_json(),
                "cells": [asdict(cell) for cell in cells],
                "estimate": asdict(guess),
            }
        )
    else:
        _print(plan_text(plan, facts, cells, guess))
    return 0


def run_run(args: argparse.Namespace) -> int:
    """Run the cells; Ctrl-C ends it at once and keeps what was measured."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from tools.load.calibrate import calibrate
    from tools.load.facts import read_facts
    from tools.load.plan import estimate, plan_cells
    from tools.load.sweep import Sweep, stop_on_interrupt
    from tui.bench_text import cells_text, found_text, plan_text

    plan = plan_of(args)
    folder = runs_folder(args)
    async with _endpoint(args) as reached:
        facts = await read_facts(reached.endpoint, reached.token)
        cells = plan_cells(plan, facts)
        guess = estimate(plan, cells)
        if not args.json:
            _print(plan_text(plan, facts, cells, guess))
        _approve(args, guess.seconds, guess.usd)
        known = _known(args, reached)
        if not args.no_calibrate:
            streams = plan.max_in_flight if plan.rates or plan.search else max(plan.concurrency)
            error = await calibrate(min(streams, 512), seconds=1.0)
            known["timing_error"] = error.to_json()
        sweep = Sweep(
            plan,
            cells,
            reached.endpoint,
            facts,
            folder=folder,
            token=reached.token,
            known=known,
        )
        with stop_on_interrupt(sweep.stop):
            run = await sweep.run(None if args.json else _tell)
    if args.json:
        print_json(run_json(run))
    else:
        _print(cells_text(run) + found_text(run))
        stopped = "stopped; " if sweep.stop.is_set() else ""
        _print(f"{stopped}kept as {run.id} ({run.path})")
    return 0 if run.measured else REFUSED


def _tell(event: SweepEvent) -> None:
    from tui.bench_text import event_line

    line, final = event_line(event)
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if final else ""))
    elif final:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _approve(args: argparse.Namespace, seconds: float, usd: float | None) -> None:
    """Ask before a run that is long or dear; raises UsageError where nobody says yes."""
    from tools.errors import UsageError

    if args.yes or (seconds <= ASK_SECONDS and (usd or 0.0) <= ASK_USD):
        return
    if not sys.stdin.isatty() or args.json:
        raise UsageError(
            f"This run takes about {seconds:.0f} s"
            + (f" and {usd:.2f} USD" if usd is not None else "")
            + " and loads the endpoint.",
            fix="Give --yes to run it unasked.",
        )
    sys.stderr.write("Run it? This loads the endpoint, and its users feel it. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Not run.")


def run_list(args: argparse.Namespace) -> int:
    """List the runs that are kept, newest first."""
    from itertools import islice

    from tools.load.runs import Run, list_runs, state_row
    from tui.bench_text import list_text

    found = list(islice(list_runs(runs_folder(args)), max(args.limit, 0)))
    runs = [one for one in found if isinstance(one, Run)]
    broken = [str(one) for one in found if not isinstance(one, Run)]
    if args.json:
        rows = [{k: v for k, v in state_row(run).items() if k != "provenance"} for run in runs]
        print_json({"schema": 1, "runs": rows, "unreadable": broken})
    else:
        _print(list_text(runs, broken))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Show one run: a heat-map of one figure, and its cells."""
    from tools.load.heatmap import heatmap
    from tui.bench_text import cells_text, found_text, head_text

    run = _find(args, args.run)
    if args.json:
        print_json(run_json(run))
        return 0
    _print(head_text(run))
    _print(heatmap(run, args.figure))
    _print(cells_text(run) + found_text(run))
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Compare two runs, or say what makes them unlike; return 1 for that."""
    from tools.load.compare import compare
    from tui.bench_text import compare_text

    result = compare(_find(args, args.first), _find(args, args.second))
    if args.json:
        print_json({"schema": 1, **result.to_json()})
    else:
        _print(compare_text(result))
    return REFUSED if result.refused else 0


def run_report(args: argparse.Namespace) -> int:
    """Write one run as a self-contained HTML file."""
    from pathlib import Path

    from tools.errors import UsageError
    from tools.load.report import html_report

    run = _find(args, args.run)
    path = Path(args.to or f"{run.id}.html")
    try:
        path.write_text(html_report(run), "utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}.") from error
    if args.json:
        print_json({"schema": 1, "run": run.id, "report": str(path)})
    else:
        _print(f"{path}")
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Import results of other programs."""
    from pathlib import Path

    from tools.errors import StateError
    from tools.load.imports import Said, import_file
    from tools.load.runs import write_run
    from tui.bench_text import imported_text

    said = Said(
        model=args.model,
        label=args.label,
        output=args.output,
        prompts=args.prompts,
        accelerator=args.accelerator,
        vllm_version=args.vllm_version,
    )
    folder = runs_folder(args)
    told = []
    for name in args.files:
        run = import_file(Path(name), said)
        again = ""
        try:
            write_run(folder, run)
        except StateError as error:
            if not (folder / f"{run.id}.jsonl").exists():
                raise
            del error
            again = "already imported"
        told.append((run, again))
    if args.json:
        rows = [
            {"id": run.id, "cells": len(run.cells), "again": bool(again), **run.provenance}
            for run, again in told
        ]
        print_json({"schema": 1, "imported": rows})
    else:
        _print("\n".join(imported_text(run, again) for run, again in told))
    return 0


def plan_of(args: argparse.Namespace) -> SweepPlan:
    """Return the sweep that the arguments describe; raises UsageError."""
    from tools.load.client import Patience
    from tools.load.plan import SweepPlan
    from tools.load.summary import Slo

    plain = SweepPlan()
    return SweepPlan(
        concurrency=args.concurrency or plain.concurrency,
        inputs=args.input or plain.inputs,
        outputs=args.output or plain.outputs,
        rates=args.rate or (),
        shape=args.shape,
        end_rate=args.end_rate,
        max_in_flight=args.max_in_flight,
        window=args.window,
        warmup=args.warmup,
        repeats=args.repeats,
        seed=args.seed,
        slo=Slo(args.slo_ttft, args.slo_tpot, args.slo_e2e),
        patience=Patience(
            first_byte=args.timeout, stall=min(args.stall, args.timeout), total=args.timeout
        ),
        prompts=args.prompts,
        ignore_eos=not args.stop_early,
        thinking=None if args.thinking is None else args.thinking == "on",
        temperature=args.temperature,
        usd_per_hour=args.usd_per_hour,
        max_seconds=args.max_seconds,
        max_usd=args.max_usd,
        search=args.find,
        share=args.share,
        beyond_kv=args.beyond_kv,
    )


def runs_folder(args: argparse.Namespace) -> Path:
    """Return where runs are kept: beside state.db."""
    from tui.running import settings_of

    settings: Settings = settings_of(args)
    return settings.state.parent / "runs"


def run_json(run: Run) -> dict[str, Any]:
    """Return a run as JSON values, without the single requests."""
    cells = [{k: v for k, v in cell.to_json().items() if k != "samples"} for cell in run.cells]
    return {
        "schema": 1,
        "provenance": dict(run.provenance),
        "finished": run.finished,
        "end": dict(run.end),
        "sha256": run.sha256,
        "path": str(run.path or ""),
        "cells": cells,
    }


def _endpoint(args: argparse.Namespace) -> Any:
    import contextlib

    @contextlib.asynccontextmanager
    async def open_endpoint() -> Any:
        from tools.measure.reach import reach
        from tui.running import settings_of

        if args.demo:
            from tui.bench_demo import simulated_endpoint

            async with simulated_endpoint() as reached:
                yield reached
            return
        settings = settings_of(args)
        yield await reach(
            settings.cloud_config(),
            settings.endpoint_config(),
            service=args.service or settings.service,
            kind=settings.kind,
        )

    return open_endpoint()


def _known(args: argparse.Namespace, reached: Reached) -> dict[str, Any]:
    known: dict[str, Any] = {
        "kind_of_endpoint": reached.target.kind,
        "accelerator": args.accelerator or None,
        "region": args.region or reached.target.location or None,
        "flags": args.flags or None,
        "simulated": bool(args.demo),
    }
    if args.label:
        known["label"] = args.label
    return known


def _find(args: argparse.Namespace, name: str) -> Run:
    from tools.load.runs import find_run

    return find_run(runs_folder(args), name)


def _print(text: str) -> None:
    from tui.plain import write

    write(text if text.endswith("\n") else text + "\n")


def print_json(told: Any) -> None:
    """Print an object as JSON; a figure that is not known becomes null."""
    import orjson

    from tui.plain import write

    # NaN, which stands for a figure that is not known, becomes null.
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    write(orjson.dumps(told, default=str, option=options).decode() + "\n")
