"""Reassembly speed: lines a second, in CPU time, on lines made from a real export.

    python benchmarks/reassembly.py [--lines N] [EXPORT]

The export of a failed Cloud Run revision is repeated with other instances, process ids, times
and numbers until there are N lines. Target: 200,000 lines a second for reassembly alone; the
other rows say what the steps before it cost.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tools.domain import LogRecord
from tools.logs.canonical import canonical_text
from tools.logs.digest import LogDigest
from tools.logs.reassembly import Reassembler
from tools.logs.records import parse_time, record_from_entry

DEFAULT = Path(__file__).parents[2] / "shared/data/logs/cloud-run-12b-qat-l4-revision-11.json"
TARGET = 200_000


def varied(entries: list[dict[str, Any]], lines: int) -> list[dict[str, Any]]:
    """Return so many entries: copies of the export that differ in every value that varies."""
    rng = random.Random(7)
    out: list[dict[str, Any]] = []
    start = 0
    while len(out) < lines:
        pid, layer, offset = rng.randint(2, 99_999), rng.randint(1, 60), timedelta(seconds=start)
        start += 300
        for entry in entries:
            text = entry.get("textPayload")
            time_ = parse_time(entry["timestamp"])
            assert time_ is not None
            new = {**entry, "timestamp": (time_ + offset).isoformat(), "insertId": f"{len(out):x}"}
            if text is not None:
                new["textPayload"] = text.replace("pid=119", f"pid={pid}").replace(
                    "line 5", f"line {layer}"
                )
                new["labels"] = {"instanceId": f"{pid:032x}"}
            out.append(new)
    return out[:lines]


def measured(name: str, count: int, run: Callable[[], object]) -> float:
    """Run once, print and return lines a second of CPU time."""
    began = time.process_time()
    run()
    rate = count / (time.process_time() - began)
    print(f"{name:<28} {rate:>12,.0f} lines/s")
    return rate


def reassemble(records: list[LogRecord]) -> int:
    """Return the number of blocks."""
    reassembler = Reassembler()
    blocks = sum(len(list(reassembler.add(record))) for record in records)
    return blocks + len(list(reassembler.flush()))


def digest(records: list[LogRecord]) -> LogDigest:
    """Return the whole digest."""
    whole = LogDigest()
    for record in records:
        whole.add(record)
    whole.finish()
    return whole


def main() -> int:
    """Print the table; exit 1 below the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("export", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--lines", type=int, default=200_000)
    args = parser.parse_args()
    if not args.export.exists():
        print(f"{args.export} is not there: name an export as gcloud prints it.", file=sys.stderr)
        return 2
    entries = varied(json.loads(args.export.read_text("utf-8")), args.lines)
    texts = [entry.get("textPayload", "") for entry in entries]
    records = [record_from_entry(entry) for entry in entries]
    count = len(entries)
    print(f"{count:,} lines made from {args.export.name}")
    measured("canonical text", count, lambda: [canonical_text(text) for text in texts])
    measured("records from entries", count, lambda: [record_from_entry(e) for e in entries])
    rate = max(measured("reassembly", count, lambda: reassemble(records)) for _ in range(3))
    measured("digest (all but records)", count, lambda: digest(records))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory, input included':<28} {peak:>12,.0f} MiB")
    verdict = "met" if rate >= TARGET else "MISSED"
    print(f"target for reassembly: {TARGET:,} lines/s: {verdict}")
    return 0 if rate >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
