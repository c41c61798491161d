"""The demo without a screen: scenarios listed, checked, and diagnosed against what they expect."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.headless import render_to_stdout, run_diagnosis, style_of
from tui.headless_report import render_json
from tui.headless_text import wrap
from tui.plain import glyph, one_line, write
from tui.running import preload

if TYPE_CHECKING:
    from tools.simulator.scenario import Expected


def run(args: argparse.Namespace) -> int:
    """Open the chat on a scenario; without a terminal, or with --check, print its diagnosis.

    Returns 0 when the diagnosis is the one that the scenario expects, else 1.
    """
    from tui.chat import run as open_chat
    from tui.chat import why_no_screen

    if not (args.check or args.json or args.markdown or why_no_screen()):
        return open_chat(
            argparse.Namespace(
                demo=args.name,
                session=None,
                first="/diagnose",
                project=None,
                location=None,
                zone=None,
                base_url=None,
                model=None,
            )
        )
    from tools.simulator.scenario import load_scenario

    expected = load_scenario(args.name).expected
    preload(demo=True)
    report, code = asyncio.run(run_diagnosis(demo_arguments(args)))
    render_to_stdout(report, style_of(args))
    wrong = differences(report, code, expected)
    sys.stdout.flush()
    for line in wrong:
        sys.stderr.write(f"not as expected: {one_line(line)}\n")
    if not wrong:
        sys.stderr.write(f"As the scenario {one_line(args.name)} expects.\n")
    return 1 if wrong else 0


def demo_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of a diagnosis of the scenario, recorded nowhere."""
    return argparse.Namespace(
        service="",
        kind="auto",
        since=None,
        start="",
        end="",
        logs=None,
        demo=args.name,
        wake=False,
        rules_only=False,
        json=args.json,
        markdown=args.markdown,
        no_record=True,
    )


def differences(report: Mapping[str, Any], code: int, expected: Expected) -> list[str]:
    """Return in what a diagnosis is not the expected one, one sentence each."""
    found: list[str] = []
    causes = [str(cause["id"]) for cause in report["causes"]]
    pairs: list[tuple[str, object, object]] = [
        ("verdict", report["verdict"], expected.verdict),
        ("causes", sorted(causes), sorted(expected.causes)),
        ("exit code", code, expected.exit_code),
    ]
    if expected.service_state:
        pairs.append(("service state", report["service_state"], expected.service_state))
    for name, got, wanted in pairs:
        if got != wanted:
            found.append(f"the {name} is {got}, expected {wanted}")
    gaps = "\n".join(report["gaps"])
    found += [f"no gap says {text!r}" for text in expected.gaps_contain if text not in gaps]
    return found


def list_scenarios(args: argparse.Namespace) -> int:
    """Print the scenarios that ship, with the verdict that each expects."""
    from tools.simulator.scenario import shipped_scenarios

    shipped = shipped_scenarios()
    if args.json:
        rows = [{"name": s.name, "title": s.title, "verdict": s.verdict} for s in shipped]
        write(render_json(rows))
        return 0
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    width = max((len(one.name) for one in shipped), default=0)
    for one in shipped:
        write(f"{one.name:<{width}}  {glyph(one.verdict, encoding)} {one.verdict}\n")
        write("\n".join(wrap(one_line(one.title), "    ")) + "\n")
    write("\nTry one: gemma-sre demo NAME\n")
    return 0


def validate(args: argparse.Namespace) -> int:
    """Print what is wrong with a scenario file; return 0 when nothing is, else 2."""
    from tools.simulator.scenario import load_scenario, shipped_scenarios, validate_scenario

    shipped = {one.name for one in shipped_scenarios()}
    problems: list[str] = []
    if args.file in shipped and not Path(args.file).exists():
        load_scenario(args.file)
    else:
        problems = [str(problem) for problem in validate_scenario(args.file)]
    if args.json:
        write(render_json({"file": args.file, "valid": not problems, "problems": problems}))
    elif problems:
        write("".join(f"{one_line(problem)}\n" for problem in problems))
    else:
        write(f"{one_line(args.file)} is a valid scenario.\n")
    return 2 if problems else 0
