"""fit_model, estimate_cost, recommend_setup and lint_flags: numbers that code computes."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from tools.domain import Observation
from tools.errors import UsageError
from tools.tool import Bounds, Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def fit_model(
    context: ToolContext,
    model: str,
    accelerator: str,
    precision: str = "",
    count: Annotated[int, Bounds(1, 256)] = 1,
    flags: str = "",
) -> ToolResult:
    """Compute whether a Gemma 4 fits an accelerator: memory, KV tokens, and what would help."""
    from tools.sizing.fit import fit
    from tools.sizing.request import FitRequest

    result = fit(
        FitRequest(
            model, accelerator, precision, count=count, flags=_words(flags),
            vllm_version=_version(context),
        ),
        today=context.config.now().date(),
    )  # fmt: skip
    said = result.explanation[0]
    helps = [one.change for one in result.advice if one.outcome == "fits"]
    if helps and not result.fits:
        said += f" What fits: {'; '.join(helps[:3])}."
    return ToolResult(
        summary=said, data=result.to_json(), observations=(_seen("sizing.fit", said),)
    )


@tool(Effect.READ)
async def estimate_cost(
    context: ToolContext,
    model: str,
    accelerator: str,
    precision: str = "",
    count: Annotated[int, Bounds(1, 256)] = 1,
    duty: Annotated[float, Bounds(0.001, 1)] = 1.0,
    tokens_per_s: Annotated[float, Bounds(0, 10_000_000)] = 0.0,
) -> ToolResult:
    """Compute what serving costs: an hour, a month, a million tokens; duty is the share in use."""
    from tools.sizing.cost import CostRequest, cost
    from tools.sizing.request import FitRequest

    result = cost(
        CostRequest(
            FitRequest(model, accelerator, precision, count=count),
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
    users: Annotated[int, Bounds(1, 100_000)] = 1,
    context_tokens: Annotated[int, Bounds(1, 262_144)] = 8192,
    tokens_per_s: Annotated[float, Bounds(0, 100_000)] = 0.0,
    budget: Annotated[float, Bounds(0, 10_000_000)] = 0.0,
    traffic: Literal["steady", "office", "bursty"] = "steady",
    images: bool = False,
    region: str = "",
) -> ToolResult:
    """Rank model, precision, accelerator and flags for a workload; budget is USD a month."""
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
async def lint_flags(
    context: ToolContext, command: str, accelerator: str = "", vllm_version: str = ""
) -> ToolResult:
    """Check a `vllm serve` command against its version and known traps before it is deployed."""
    from tools.serving.lint import lint_args, parse_command

    words, env = parse_command(command)
    if not words:
        raise UsageError("There is no command to check.", fix="Give `vllm serve MODEL --…`.")
    findings = lint_args(
        words, vllm_version=vllm_version or _version(context), accelerator=accelerator, env=env
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


def _words(flags: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(flags))
    except ValueError as error:
        raise UsageError(f"The flags can't be read: {error}.", fix="Close their quotes.") from None


def _seen(source: str, said: str) -> Observation:
    return Observation(source="sizing", ref=source, quote=said)
