"""Match a library of 1,000 runbooks against 100,000 lines; the bound is 3 seconds of CPU.

Run it with ``python benchmarks/matching.py [--runbooks N] [--lines N]``. The runbooks are variants
of the shipped ones, each with patterns of its own; one line in a thousand is a real failure, the
rest are shaped like the log of a healthy start.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from runbooks.catalog import Catalog
from runbooks.match import Matcher
from runbooks.rule import Rule
from runbooks.runbook import Runbook
from tools.domain import Block, LogRecord

BOUND_S = 3.0
HEALTHY = (
    "INFO [model.py:733] Resolved architecture: Gemma4ForConditionalGeneration {}",
    "Loading safetensors checkpoint shards:  {}% Completed | 3/5 [00:21<00:14,  7.03s/it]",
    "INFO [loggers.py:257] Engine 000: Avg generation throughput: {}.3 tokens/s, Running: 3 reqs",
    'INFO:     169.254.1.1:{} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    "WARNING [vllm.py:1033] Enforce eager set, disabling torch.compile and CUDAGraphs. {}",
    "Failed to fetch optional file number {} from the cache, using the default",
)


def library(count: int) -> Catalog:
    """Return the shipped runbooks and variants of them, ``count`` in all."""
    shipped = list(Catalog.load().runbooks.values())
    books: list[Runbook] = list(shipped)
    while len(books) < count:
        original = shipped[len(books) % len(shipped)]
        number = len(books)
        rules = tuple(_vary(rule, number) for rule in original.rules)
        books.append(replace(original, id=f"{original.id}-{number}", rules=rules, excludes=()))
    return Catalog.of(books[:count])


def _vary(rule: Rule, number: int) -> Rule:
    line = f"{rule.line} in unit {number}" if rule.line else ""
    return replace(rule, line=line, all=tuple(_vary(part, number) for part in rule.all))


def lines(count: int, seed: int = 4) -> Iterator[str]:
    """Yield log lines, all different."""
    chance = random.Random(seed)
    failures = [
        example.lines[0]
        for book in Catalog.load().runbooks.values()
        for example in book.examples
        if example.lines
    ]
    for number in range(count):
        if number % 1000 == 0:
            yield f"{chance.choice(failures)} ({number})"
        else:
            yield chance.choice(HEALTHY).format(number)


def measure(runbooks: int, count: int) -> dict[str, float]:
    """Return CPU seconds and counts of one run."""
    catalog = library(runbooks)
    blocks = [
        Block("line", text, (LogRecord(f"l{number}", text),))
        for number, text in enumerate(lines(count))
    ]
    started = time.process_time()
    matcher = Matcher(catalog)
    built = time.process_time()
    for block in blocks:
        matcher.add(block)
    found = matcher.finish((), None)
    ended = time.process_time()
    return {
        "runbooks": len(catalog.runbooks),
        "lines": count,
        "build_s": round(built - started, 3),
        "match_s": round(ended - built, 3),
        "total_s": round(ended - started, 3),
        "matches": len(found),
        "bound_s": BOUND_S,
    }


def main() -> int:
    """Print the figures as JSON; the exit code is 1 when the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runbooks", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    figures = measure(options.runbooks, options.lines)
    print(json.dumps(figures))
    return int(figures["total_s"] > BOUND_S)


if __name__ == "__main__":
    raise SystemExit(main())
