"""fit, cost, recommend, lint and memory without a screen, as text or JSON."""

from __future__ import annotations

import sys

from tui.sizing_arguments import (
    add_cost_arguments,
    add_fit_arguments,
    add_lint_arguments,
    add_memory_arguments,
    add_recommend_arguments,
)

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from tools.sizing.fit import FitResult
    from tools.sizing.request import FitRequest

FINDINGS = 1  # exit code of lint with an error, and of fit when it does not fit
BAR_WIDTH = 60


def run_fit(args: argparse.Namespace) -> int:
    """Print whether it fits; return 0 if it does, 1 if not."""
    from datetime import UTC, datetime

    from tools.sizing.fit import fit

    result = fit(_request(args), today=datetime.now(UTC).date())
    if args.json:
        _print_json(result.to_json())
    else:
        _print(_fit_text(result))
    return 0 if result.fits else FINDINGS


def run_cost(args: argparse.Namespace) -> int:
    """Print what a deployment costs."""
    from datetime import UTC, datetime

    from tools.sizing.cost import CostRequest, cost

    result = cost(
        CostRequest(
            _request(args),
            duty=args.duty,
            users=args.users,
            context=args.context,
            tokens_per_s=args.tokens_per_s,
            kind=args.kind,
        ),
        today=datetime.now(UTC).date(),
    )
    if args.json:
        _print_json(result.to_json())
        return 0
    lines = [
        f"{one.offer.kind:<11} {one.hour:>8.2f} USD/h {one.month:>9,.0f} USD/month "
        f"{one.million_tokens:>8.2f} USD/M tokens  {one.offer.where}, {one.offer.region} "
        f"({one.offer.day})"
        for one in result.offers
    ]
    lines += ["", "Cold start:"]
    lines += [
        f"  {phase.name}: {phase.low:.0f} s"
        + ("" if phase.low == phase.high else f" to {phase.high:.0f} s")
        + (" (measured)" if phase.measured else "")
        for phase in result.cold_start
    ]
    _print([*lines, "", *result.explanation])
    return 0


def run_recommend(args: argparse.Namespace) -> int:
    """Print ranked options for a workload; return 1 when nothing holds."""
    from tools.errors import UsageError
    from tools.sizing.recommend import Workload, recommend

    if args.limit < 1:
        raise UsageError("--limit must be at least 1.")
    result = recommend(
        Workload(
            users=args.users,
            context=args.context,
            tokens_per_s=args.tokens_per_s,
            budget=args.budget,
            traffic=args.traffic,
            tools=args.tools,
            images=args.images,
            region=args.region,
            models=tuple(args.models),
            quota=dict(_quota(text) for text in args.quota),
        )
    )
    if args.json:
        _print_json(result.to_json(limit=args.limit))
        return 0 if result.options else FINDINGS
    lines = [*result.explanation, ""]
    for place, option in enumerate(result.options[: args.limit], 1):
        lines.append(f"{place}. {option.name}")
        lines += [f"   - {reason}" for reason in option.reasons]
        lines.append(f"   {' '.join(option.flags)}")
    lines.append("")
    lines.append(f"Front: {'; '.join(option.name for option in result.front) or 'empty'}.")
    count = len(result.rejections)
    lines.append(f"{count} of {result.considered} combinations were turned down.")
    if args.rejections:
        lines += [f"  {one.name}: {one.reason}" for one in result.rejections]
    elif count:
        lines.append("--rejections shows them with their reasons.")
    _print(lines)
    return 0 if result.options else FINDINGS


def run_lint(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if one of them is an error."""
    from tools.serving.lint import lint_args
    from tools.sizing.version import LATEST

    given, env, version = _lint_source(args)
    findings = lint_args(
        given,
        vllm_version=args.vllm_version or version or LATEST,
        accelerator=args.accelerator,
        model=args.model,
        chips=args.count,
        env=env,
        packages=dict(_pair(text, "--package") for text in args.package),
    )
    bad = any(finding.severity == "error" for finding in findings)
    if args.json:
        _print_json(
            {
                "schema": 1,
                "vllm_version": args.vllm_version or version or LATEST,
                "findings": [finding.to_json() for finding in findings],
            }
        )
        return FINDINGS if bad else 0
    lines = []
    for finding in findings:
        held = f" [vLLM {finding.versions}]" if finding.versions else ""
        lines.append(f"{finding.severity}: {finding.flag}: {finding.why}{held}")
        lines.append(f"    {finding.fix}" + (f"  ({finding.source})" if finding.source else ""))
    _print(lines or ["Nothing found."])
    return FINDINGS if bad else 0


def run_memory(args: argparse.Namespace) -> int:
    """Print where a running service's memory went, each figure measured or derived."""
    from tools.errors import UsageError
    from tools.sizing import bootlog
    from tools.sizing.bar import memory_bar
    from tools.sizing.layout import layout

    path = args.boot_log or args.logs
    if not path:
        raise UsageError("No log is given.", fix="Give --boot-log FILE, the log of a start.")
    found = layout(
        bootlog.read(path),
        model=args.model,
        accelerator=args.accelerator,
        metrics=_gauges(args.metrics),
    )
    if args.json:
        _print_json(found.to_json())
        return 0
    lines = []
    for figure in found.figures:
        value = f"{figure.value:,g}" if isinstance(figure.value, float) else str(figure.value)
        lines.append(f"{figure.name:<34} {value:>14} {figure.unit:<9} {figure.how}")
    if found.estimate:
        lines += ["", "Estimated:", memory_bar(found.estimate, BAR_WIDTH)]
    _print([*lines, "", *found.explanation])
    return 0


def _request(args: argparse.Namespace) -> FitRequest:
    from tools.sizing.request import FitRequest
    from tools.sizing.version import LATEST

    log = None
    if getattr(args, "boot_log", ""):
        from tools.sizing import bootlog

        log = bootlog.read(args.boot_log)
    return FitRequest(
        model=args.model,
        accelerator=args.accelerator,
        precision=args.precision,
        count=args.count,
        text_only=args.text_only,
        vllm_version=args.vllm_version or (log.version if log else "") or LATEST,
        kv_gib=getattr(args, "kv_gib", None),
        flags=tuple(args.vllm_flags) or _printed(log.args if log else {}),
        measured=log.measured if log else None,
        cold=getattr(args, "cold", False),
    )


def _printed(values: Any) -> Any:
    from tools.sizing.flags import read

    named = {key: value for key, value in values.items() if key not in {"model", "model_tag"}}
    return read(named) if named else ()


def _fit_text(result: FitResult) -> list[str]:
    from tools.sizing.bar import memory_bar

    word = "fits" if result.fits else result.outcome.replace("_", " ")
    lines = [word, memory_bar(result, BAR_WIDTH), "", *result.explanation]
    lines.append(f"Decoding: at most {result.ceiling:.1f} tokens/s for one request.")
    if result.offer and result.usd_per_hour:
        lines.append(
            f"Price: {result.usd_per_hour:.2f} USD an hour ({result.offer.where}, "
            f"{result.offer.day})."
        )
    helping = [one for one in result.advice if one.outcome == "fits"]
    useless = [one for one in result.advice if one.outcome != "fits"]
    if helping:
        lines += ["", "What makes it fit, computed again:" if not result.fits else "To start:"]
        lines += [f"  {one.change}: {one.effect}" for one in helping]
    if useless:
        lines += ["", "What does not help:"]
        lines += [f"  {one.change}: {one.effect} ({one.outcome})" for one in useless]
    lines += ["", "Sources:", *(f"  {source}" for source in result.sources)]
    return lines


def _lint_source(args: argparse.Namespace) -> tuple[Any, dict[str, str], str]:
    from tools.errors import UsageError
    from tools.serving.lint import parse_command

    chosen = [name for name in ("command", "args_json", "boot_log") if getattr(args, name)]
    if len(chosen) + bool(args.vllm_flags) != 1:
        raise UsageError(
            "Give one thing to check.",
            fix="-- vllm serve …, --command FILE, --args-json FILE or --boot-log FILE.",
        )
    if args.vllm_flags:
        words = list(args.vllm_flags)
        env: dict[str, str] = {}
        while words and "=" in words[0] and not words[0].startswith("-"):
            key, _, value = words.pop(0).partition("=")
            env[key] = value
        return (words[words.index("serve") + 1 :] if "serve" in words else words), env, ""
    if args.command:
        words, env = parse_command(_text(args.command))
        return words, env, ""
    if args.boot_log:
        from tools.sizing.bootlog import parse, texts

        log = parse(texts(_text(args.boot_log)))
        if not log.args:
            raise UsageError(
                f"{args.boot_log} has no `non-default args` line.", fix="Give vLLM's whole start."
            )
        return log.args, {}, log.version
    import json

    try:
        given = json.loads(_text(args.args_json))
    except ValueError as error:
        raise UsageError(f"{args.args_json} is no JSON: {error}.") from None
    if isinstance(given, dict):
        return given, {}, ""
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        return given, {}, ""
    raise UsageError(
        f"{args.args_json} is neither a list of words nor an object of options.",
        fix='Write ["--max-model-len", "8192"] or {"max_model_len": 8192}.',
    )


def _gauges(path: str) -> dict[str, float]:
    if not path:
        return {}
    found: dict[str, float] = {}
    for line in _text(path).splitlines():
        name, _, rest = line.partition("{")
        if line.startswith("vllm:") and rest:
            try:
                found[name] = float(rest.rpartition(" ")[2])
            except ValueError:
                continue
    return found


def _text(path: str) -> str:
    from pathlib import Path

    from tools.errors import UsageError

    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).expanduser().read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None


def _quota(text: str) -> tuple[str, int]:
    from tools.errors import UsageError

    name, value = _pair(text, "--quota")
    if not value.isdigit():
        raise UsageError(f"--quota {text!r} has no number.", fix="Write L4=2.")
    return name, int(value)


def _pair(text: str, option: str) -> tuple[str, str]:
    from tools.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"{option} {text!r} can't be read.", fix="Write NAME=VALUE.")
    return name, value


def _print_json(data: Any) -> None:
    import json

    _print([json.dumps(data, ensure_ascii=False, indent=2)])


def _print(lines: Sequence[str]) -> None:
    from tui.plain import clean, write

    write("".join(clean(line) + "\n" for line in lines))


__all__ = [
    "add_cost_arguments",
    "add_fit_arguments",
    "add_lint_arguments",
    "add_memory_arguments",
    "add_recommend_arguments",
    "run_cost",
    "run_fit",
    "run_lint",
    "run_memory",
    "run_recommend",
]
