"""What starting costs: `--help` and `--version` against a bare `python -c pass`.

CPU time (user + system) of the child process, bytecode compiled, medians of many runs taken in
turn, so that a slow minute of the machine touches all of them. Prints text, or JSON with --json.
Exits 1 when a ratio is above the limit.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 3.0  # times bare Python

SCRIPT = "import sys; from tui.cli import main; sys.exit(main())"  # what the console script does
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "gemma-sre --version": ["-c", SCRIPT, "--version"],
    "gemma-sre --help": ["-c", SCRIPT, "--help"],
    "gemma-sre diagnose --help": ["-c", SCRIPT, "diagnose", "--help"],
}
LIMITED = ("gemma-sre --version", "gemma-sre --help")


def cpu_seconds(arguments: list[str]) -> float:
    """Return user plus system time of one run of Python, in seconds."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def cpu_seconds_fine(arguments: list[str]) -> float:
    """Return the same with the microseconds of getrusage, where the system has it."""
    try:
        import resource
    except ImportError:
        return cpu_seconds(arguments)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def measure(runs: int) -> dict[str, float]:
    """Return the median CPU milliseconds of each command."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, arguments in COMMANDS.items():
            taken[name].append(cpu_seconds_fine(arguments) * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> int:
    """Measure, print, and compare with the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for room in ("tui", "tools"):
        compileall.compile_dir(ROOT / room, quiet=2, maxlevels=0)
    medians = measure(args.runs)
    bare = medians["python -c pass"]
    ratios = {name: value / bare for name, value in medians.items()}
    passed = all(ratios[name] <= LIMIT for name in LIMITED)
    if args.json:
        report = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "runs": args.runs,
            "limit": LIMIT,
            "cpu_ms": medians,
            "ratio": ratios,
            "passed": passed,
        }
        print(json.dumps(report, indent=2))
    else:
        for name, value in medians.items():
            print(f"{name:<28}{value:7.1f} ms CPU   {ratios[name]:4.2f} ×")
        verdict = "within" if passed else "ABOVE"
        print(f"{verdict} the limit of {LIMIT:.0f} × for --help and --version")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
