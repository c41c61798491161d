"""query: one question to the model, its answer, and what it took."""

from __future__ import annotations

import sys

from tui.bench_commands import REFUSED, print_json

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse


def run_query(args: argparse.Namespace) -> int:
    """Ask the model once and print its answer, then the figures on stderr."""
    import asyncio

    return asyncio.run(_query(args))


async def _query(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from tools.errors import UsageError
    from tools.load.facts import read_facts
    from tools.load.query import query_with_stats
    from tools.measure.reach import reach
    from tui.bench_text import query_text
    from tui.plain import clean
    from tui.running import settings_of

    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    if args.max_tokens < 1:
        raise UsageError("--max-tokens must be 1 or more.")
    settings = settings_of(args)
    reached = await reach(
        settings.cloud_config(),
        settings.endpoint_config(),
        service=args.service or settings.service,
        kind=settings.kind,
    )
    facts = await read_facts(reached.endpoint, reached.token)

    def hear(kind: str, text: str) -> None:
        if kind == "content" or (kind == "reasoning" and args.show_thinking):
            sys.stdout.write(clean(text))
            sys.stdout.flush()

    stats = await query_with_stats(
        replace(reached.endpoint, model=facts.model),
        prompt,
        max_tokens=args.max_tokens,
        thinking=None if args.thinking is None else args.thinking == "on",
        temperature=args.temperature,
        images=args.image,
        token=reached.token,
        listener=None if args.json else hear,
    )
    if args.json:
        print_json({"schema": 1, "model": facts.model, **stats.to_json()})
    else:
        sys.stdout.write("\n")
        sys.stderr.write(query_text(stats) + "\n")
    return 0 if stats.outcome == "ok" else REFUSED
