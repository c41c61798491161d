"""The console script on the simulated cloud, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tools.simulator.scenario import shipped_scenarios

ROOT = Path(__file__).resolve().parents[2]
KEYS = (
    *("schema", "target", "verdict", "causes", "service_state", "impact", "changes"),
    *("hypotheses", "evidence", "gaps", "brain", "similar", "incident", "stats"),
)


def gemma_sre(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_the_demo_is_the_expected_one_and_its_json_keeps_the_contract() -> None:
    done = gemma_sre("demo", "run", "int4-kernel-l4", "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    assert tuple(report) == KEYS
    assert report["target"]["simulated"]


def test_scenarios_are_listed() -> None:
    done = gemma_sre("demo", "list", "--json")
    assert [row["name"] for row in json.loads(done.stdout)] == [s.name for s in shipped_scenarios()]


def test_the_check_says_simulated() -> None:
    done = gemma_sre("check", "--demo", "healthy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["simulated"] is True


def test_what_can_not_be_looked_at_is_exit_2_and_one_sentence() -> None:
    done = gemma_sre("diagnose", "--logs", "/nonexistent")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: ")
