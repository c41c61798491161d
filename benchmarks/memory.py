"""Incident memory at 100,000 incidents: search time, recall@3, and processes writing at once.

Run it with ``python benchmarks/memory.py [--incidents N] [--kinds N] [--seconds S]``. The incidents
that must be found are those of ``memory_labels.toml``; the others are made of sentences of the
runbooks that no label uses: other failures of the same systems, in much the same words.

Bounds: p95 under 10 ms, recall@3 at least 0.9, nothing lost.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.memory import Memory
from runbooks.catalog import Catalog

P95_BOUND_MS = 10.0
RECALL_BOUND = 0.9
LABELS = Path(__file__).with_name("memory_labels.toml")
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 1_000
KINDS = 8_000  # of failures among the others; the frequent ones come back hundreds of times
_KINDS_STORED = "SELECT count(DISTINCT fingerprint) AS n FROM incidents"
EXCEPTIONS = ("RuntimeError", "ValueError", "OSError", "TimeoutError", "KeyError", "AssertionError")


class Clock:
    """A clock that moves on by a minute at each look."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        self.time += timedelta(minutes=1)
        return self.time


def a_report(
    causes: list[dict[str, Any]], service: str, lines: list[str], verdict: str = "confirmed"
) -> dict[str, Any]:
    """Return a report with what memory reads of it."""
    evidence = [
        {"id": f"E{n}", "source": "logging", "ref": f"r{n}", "time": None, "quote": line}
        for n, line in enumerate(lines, 1)
    ]
    ids = [item["id"] for item in evidence]
    return {
        "target": {"service": service, "kind": "cloud-run"},
        "verdict": verdict,
        "causes": [{"confidence": "likely", "fix": [], "evidence": ids, **c} for c in causes],
        "evidence": evidence,
        "stats": {},
    }


def labelled(catalog: Catalog) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return the labelled incidents by key, each with its ``report``, and the queries."""
    data = tomllib.loads(LABELS.read_text(encoding="utf-8"))
    incidents: dict[str, dict[str, Any]] = {}
    for item in data["incident"]:
        if "runbook" in item:
            book = catalog.runbooks[item["runbook"]]
            cause = {"id": book.id, "title": book.title, "component": book.component}
            lines = [line for example in book.examples[:2] for line in example.lines[:2]]
        else:
            cause = {
                "id": f"pattern:{item['key']}",
                "title": item["pattern"],
                "component": item["component"],
            }
            lines = item["lines"]
        incidents[item["key"]] = {**item, "report": a_report([cause], item["service"], lines)}
    return incidents, data["query"]


def store(memory: Memory, session: str, report: dict[str, Any]) -> str:
    """Record one incident inside an open transaction, as a turn's end does; return its id."""
    turn = f"t-{random.getrandbits(64):016x}"
    memory.file.execute(
        "INSERT INTO turns (id, session, kind, state, started) VALUES (?, ?, 'diagnose',"
        " 'finished', ?)",
        turn,
        session,
        memory.file.now(),
    )
    return memory.incidents.join(turn, report, {})


def others() -> tuple[list[str], list[str]]:
    """Return sentences and components of the runbooks that no label uses."""
    data = tomllib.loads(LABELS.read_text(encoding="utf-8"))
    used = {item.get("runbook") for item in data["incident"]}
    books = [book for book in Catalog.load().runbooks.values() if book.id not in used]
    text = "\n".join(part for book in books for part in (*book.sections.values(), *book.fix))
    plain = re.sub(r"```.*?```", "\n", text, flags=re.DOTALL)
    sentences = [s.strip() for s in re.split(r"(?<=[.:;])\s+|\n+", plain)]
    return [s for s in sentences if len(s) > 30], sorted({book.component for book in books})


def fill(memory: Memory, count: int, seed: int = 7, of: int = KINDS // 2) -> None:
    """Store ``count`` diagnoses of ``of`` other failures, in the words of the runbooks."""
    chance = random.Random(seed)
    sentences, components = others()
    kinds = []
    for number in range(of):
        title = f"{chance.choice(EXCEPTIONS)}: {chance.choice(sentences)[:120]}"
        lines = [chance.choice(sentences) for _ in range(3)]
        cause = {
            "id": f"pattern:{seed}-{number}",
            "title": title,
            "component": chance.choice(components),
        }
        kinds.append((cause, lines))
    weights = [1 / (rank + 1) ** 0.6 for rank in range(of)]
    session = memory.start_session("others")
    for begin in range(0, count, BATCH):
        with memory.file.write():
            for cause, lines in chance.choices(kinds, weights, k=min(BATCH, count - begin)):
                # One service each: otherwise the same failure would join an open incident.
                service = f"svc-{chance.getrandbits(48):012x}"
                store(memory, session, a_report([cause], service, lines, "likely"))


def fill_labelled(memory: Memory, incidents: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Store the labelled incidents and return their ids by key."""
    session = memory.start_session("labelled")
    ids = {}
    for key, item in incidents.items():
        with memory.file.write():
            ids[key] = store(memory, session, item["report"])
        if "note" in item:
            memory.incidents.note(ids[key], item["note"], "oncall")
        memory.incidents.resolve(ids[key], item["resolution"], "oncall")
    return ids


def recall(
    memory: Memory, ids: dict[str, str], queries: list[dict[str, Any]]
) -> tuple[float, list[str]]:
    """Return recall@3 over the queries, and those that were missed."""
    missed = [
        query["text"]
        for query in queries
        if not {ids[key] for key in query["finds"]}
        & {row["id"] for row in memory.incidents.search(query["text"], 3)}
    ]
    return 1 - len(missed) / len(queries), missed


def times(calls: list[Any]) -> dict[str, float]:
    """Return percentiles of the calls' wall time, in milliseconds."""
    taken = []
    for call in calls:
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(taken, n=100)
    return {
        "p50_ms": round(cuts[49], 2),
        "p95_ms": round(cuts[94], 2),
        "max_ms": round(max(taken), 2),
    }


def write_for(path: str, seconds: float, name: str, results: Any) -> None:
    """Write turns, calls and incidents until the time is over; report how many."""
    memory = Memory.open(Path(path))
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        turn = memory.start_turn(memory.start_session(name), "diagnose", "?", {"n": count})
        memory.record_call(
            turn, {"call": "c", "name": "probe", "state": "ok", "content": "x" * 500}
        )
        report = a_report(
            [{"id": "shared", "title": "Shared", "component": "c"}], "svc", ["line"], "likely"
        )
        memory.finish_turn(turn, "finished", report=report, record_incident=True)
        count += 1
    memory.close()
    results.put(count)


def concurrent(path: Path, seconds: float, processes: int = 2) -> dict[str, Any]:
    """Let processes write at once; return what they wrote and what is there."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    running = [
        context.Process(target=write_for, args=(str(path), seconds, f"w{n}", results))
        for n in range(processes)
    ]
    for process in running:
        process.start()
    written = sum(results.get(timeout=seconds + 60) for _ in running)
    for process in running:
        process.join()
    memory = Memory.open(path)
    try:
        incidents = memory.list_incidents(100)
        check = memory.audit.verify()
        return {
            "seconds": seconds,
            "written": written,
            "turns": memory.file.rows("SELECT count(*) AS n FROM turns")[0]["n"],
            "counted": sum(row["count"] for row in incidents),
            "incidents": len(incidents),
            "audit_entries": check.entries,
            "audit_problems": len(check.problems),
        }
    finally:
        memory.close()


def measure(folder: Path, count: int, kinds: int = KINDS) -> dict[str, Any]:
    """Return time and recall of a search over ``count`` other incidents and the labelled ones."""
    incidents, queries = labelled(Catalog.load())
    memory = Memory(folder / "state.db", Clock())
    try:
        started = time.perf_counter()
        fill(memory, count // 2, seed=7, of=kinds // 2)
        ids = fill_labelled(memory, incidents)
        fill(memory, count - count // 2, seed=8, of=kinds // 2)
        filled = time.perf_counter() - started
        found, missed = recall(memory, ids, queries)
        chance = random.Random(1)
        reports = [item["report"] for item in incidents.values()] * 5
        chance.shuffle(reports)
        texts = [query["text"] for query in queries] * 5
        chance.shuffle(texts)
        return {
            "incidents": memory.file.rows("SELECT count(*) AS n FROM incidents")[0]["n"],
            "fingerprints": memory.file.rows(_KINDS_STORED)[0]["n"],
            "fill_s": round(filled, 1),
            "size_mb": round((folder / "state.db").stat().st_size / 1e6, 1),
            "queries": len(queries),
            "recall_at_3": round(found, 3),
            "missed": missed,
            "search": times([lambda t=t: memory.incidents.search(t, 3) for t in texts]),
            "similar": times([lambda r=r: memory.incidents.similar(r, 3) for r in reports]),
        }
    finally:
        memory.close()


def main() -> int:
    """Print the figures as JSON; the exit code is 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incidents", type=int, default=100_000)
    parser.add_argument("--kinds", type=int, default=KINDS, help="of other failures")
    parser.add_argument("--seconds", type=float, default=60.0, help="of writing at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.incidents, options.kinds)
        figures["concurrent"] = both = concurrent(Path(folder) / "shared.db", options.seconds)
    print(json.dumps(figures, indent=1))
    slow = max(figures["search"]["p95_ms"], figures["similar"]["p95_ms"]) > P95_BOUND_MS
    lost = not both["written"] == both["turns"] == both["counted"] == both["audit_entries"]
    poor = figures["recall_at_3"] < RECALL_BOUND
    return int(slow or lost or poor or both["audit_problems"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
