"""fit_model, estimate_cost, recommend_setup and lint_flags: numbers that code computes.

What is impossible is refused where it is computed, so the schemas carry no bounds: the four
together stay under 500 tokens of a small window, at three bytes a token.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

from tools.domain import Observation
from tools.errors import UsageError
from tools.tool import Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def fit_model(
    context: ToolContext,
    model: str,
    accelerator: str,
    precision: str = "",
    flags: str = "",
) -> ToolResult:
    """Compute whether a Gemma 4 fits ("2 x L4"), and what would help."""
    from tools.sizing.bar import memory_bar
    from tools.sizing.fit import fit
    from tools.sizing.request import FitRequest

    card, count = _devices(accelerator)
    result = fit(
        FitRequest(
            model, card, precision, count=count, flags=_words(flags),
            vllm_version=_version(context),
        ),
        today=context.config.now().date(),
    )  # fmt: skip
    said = result.explanation[0]
    helps = [one.change for one in result.advice if one.outcome == "fits"]
    if helps and not result.fits:
        said += f" What fits: {'; '.join(helps[:3])}."
    # The summary is what goes into the window; the data is what a person opens.
    data = {"bar": memory_bar(result).splitlines(), **result.to_json()}
    return ToolResult(summary=said, data=data, observations=(_seen("sizing.fit", said),))


@tool(Effect.READ)
async def estimate_cost(
    context: ToolContext,
    model: str,
    accelerator: str,
    precision: str = "",
    duty: float = 1.0,
    tokens_per_s: float = 0.0,
) -> ToolResult:
    """Compute the cost of serving; duty is the share of the time in use."""
    from tools.sizing.cost import CostRequest, cost
    from tools.sizing.request import FitRequest

    card, count = _devices(accelerator)
    result = cost(
        CostRequest(
            FitRequest(model, card, precision, count=count),
            duty=duty,
            tokens_per_s=tokens_per_s,
        ),
        today=context.config.now().date(),
    )
    first = result.offers[0]
    kind = "measured" if result.measured else "ceiling"
    said = (
        f"{first.offer.where}: {first.hour:.2f} USD an hour, {first.month:,.0f} a month, "
        f"{first.million_tokens:.2f} a million output tokens ({kind} {result.throughput:.1f} "
        f"tokens/s); price of {first.offer.day}."
    )
    return ToolResult(
        summary=said, data=result.to_json(), observations=(_seen("sizing.cost", said),)
    )


@tool(Effect.READ)
async def recommend_setup(
    context: ToolContext,
    users: int = 1,
    context_tokens: int = 8192,
    tokens_per_s: float = 0.0,
    budget: float = 0.0,
    traffic: Literal["steady", "office", "bursty"] = "steady",
    images: bool = False,
    region: str = "",
) -> ToolResult:
    """Rank setups for a workload; budget is USD a month."""
    from tools.sizing.recommend import Workload, recommend

    del context
    result = recommend(
        Workload(
            users=users,
            context=context_tokens,
            tokens_per_s=tokens_per_s,
            budget=budget,
            traffic=traffic,
            tools=True,
            images=images,
            region=region,
        )
    )
    if not result.options:
        said = f"Nothing holds this: {len(result.rejections)} combinations were turned down."
    else:
        said = "; ".join(
            f"{place}. {option.name}, {option.usd_per_month:,.0f} USD a month, at most "
            f"{option.tokens_per_s:.0f} tokens/s a user"
            for place, option in enumerate(result.options[:3], 1)
        )
    data = result.to_json(limit=5)
    # The whole list of rejections is for the command line; here their first ones do.
    data["rejections"] = data["rejections"][:10]
    return ToolResult(summary=said, data=data, observations=(_seen("sizing.recommend", said),))


@tool(Effect.READ)
async def lint_flags(context: ToolContext, command: str, accelerator: str = "") -> ToolResult:
    """Check a `vllm serve` command against its version and known traps."""
    from tools.serving.lint import lint_args, parse_command

    words, env = parse_command(command)
    if not words:
        raise UsageError("There is no command to check.", fix="Give `vllm serve MODEL --…`.")
    card, chips = _devices(accelerator)
    findings = lint_args(
        words, vllm_version=_version(context), accelerator=card, chips=chips, env=env
    )
    errors = [finding for finding in findings if finding.severity == "error"]
    said = f"{len(findings)} findings, {len(errors)} errors"
    said += "".join(f"; {one.flag}: {one.why}" for one in (errors or findings)[:3])
    return ToolResult(
        summary=said,
        data={"findings": [finding.to_json() for finding in findings]},
        observations=(_seen("serving.lint", said),),
    )


def _version(context: ToolContext) -> str:
    from tools.sizing.version import LATEST

    del context  # the endpoint's own version is not known here without asking it
    return LATEST


def _devices(text: str) -> tuple[str, int]:
    """Return the accelerator and how many: ``2 x L4`` → L4, 2; 0 where no number is named."""
    found = re.fullmatch(r"\s*(\d{1,4})\s*[x×*]\s*(.+)", text)
    return (found[2], int(found[1])) if found else (text, 0)


def _words(flags: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(flags))
    except ValueError as error:
        raise UsageError(f"The flags can't be read: {error}.", fix="Close their quotes.") from None


def _seen(source: str, said: str) -> Observation:
    return Observation(source="sizing", ref=source, quote=said)
