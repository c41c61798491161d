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
from tui.sizing_text import BAR_WIDTH, cost_text, fit_text

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from tools.sizing.bootlog import BootLog
    from tools.sizing.cost import CostResult
    from tools.sizing.fit import FitResult
    from tools.sizing.live import Running
    from tools.sizing.request import FitRequest
    from tools.vllm.metrics import EndpointMetrics

FINDINGS = 1  # exit code of lint with an error, and of fit when it does not fit
MANY = 1e5  # from here on a figure is shown whole, not in powers of ten


def run_fit(args: argparse.Namespace) -> int:
    """Print whether it fits; return 0 if it does, 1 if not."""
    result, gaps = _fit(args)
    if args.json:
        _print_json(result.to_json())
    else:
        _print([*fit_text(result), *gaps])
    return 0 if result.fits else FINDINGS


def fit_lines(args: argparse.Namespace) -> list[str]:
    """Return what `fit` prints, for the chat; the sources stay on the command line."""
    result, gaps = _fit(args)
    return [*fit_text(result, sources=False), *gaps]


def _fit(args: argparse.Namespace) -> tuple[FitResult, list[str]]:
    from datetime import UTC, datetime

    from tools.sizing.fit import fit_measured

    log, gaps = _log(args)
    return fit_measured(_request(args, log), log, today=datetime.now(UTC).date()), gaps


def run_cost(args: argparse.Namespace) -> int:
    """Print what a deployment costs."""
    result, gaps = _cost(args)
    if args.json:
        _print_json(result.to_json())
    else:
        _print([*cost_text(result), *gaps])
    return 0


def cost_lines(args: argparse.Namespace) -> list[str]:
    """Return what `cost` prints, for the chat."""
    result, gaps = _cost(args)
    return [*cost_text(result), *gaps]


def _cost(args: argparse.Namespace) -> tuple[CostResult, list[str]]:
    from datetime import UTC, datetime

    from tools.sizing.cost import CostRequest, cost

    if args.refresh:
        from tui.sizing_prices import refresh_now

        sys.stderr.write(refresh_now() + "\n")
    history, gaps = _history(args)
    result = cost(
        CostRequest(
            _request(args, None),
            duty=args.duty,
            users=args.users,
            context=args.context,
            tokens_per_s=args.tokens_per_s,
            kind=args.kind,
            history=history,
        ),
        today=datetime.now(UTC).date(),
    )
    return result, gaps


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
    live = _live(args)
    if not path and live is None:
        raise UsageError(
            "Neither a service nor a log is given.",
            fix="Name a service, or give --boot-log FILE, the log of a start.",
        )
    log = bootlog.read(path) if path else live.log if live else bootlog.BootLog()
    metrics = _metrics(args.metrics) if args.metrics else live.metrics if live else None
    found = layout(
        log,
        model=args.model,
        accelerator=args.accelerator or (live.accelerator if live else ""),
        count=live.count if live else 0,
        used=metrics.kv_usage if metrics else None,
        cache=metrics.cache_config if metrics else None,
    )
    gaps = [f"Not seen: {gap}." for gap in live.gaps] if live else []
    if args.json:
        _print_json({**found.to_json(), "source": log.source, "gaps": gaps})
        return 0
    lines = [f"From {log.source}:"] if log.source else []
    for figure in found.figures:
        value = f"{figure.value:,g}" if isinstance(figure.value, float) else str(figure.value)
        if isinstance(figure.value, float) and figure.value >= MANY:
            value = f"{figure.value:,.0f}"
        lines.append(f"{figure.name:<34} {value:>14} {figure.unit:<9} {figure.how}")
    if found.estimate:
        lines += ["", "Estimated:", memory_bar(found.estimate, BAR_WIDTH)]
    _print([*lines, "", *found.explanation, *gaps])
    return 0


def _live(args: argparse.Namespace, *, ask_endpoint: bool = True) -> Running | None:
    if not (args.service or args.demo):
        return None
    from tui.sizing_live import running_service

    return running_service(args, ask_endpoint=ask_endpoint)[0]


def _log(args: argparse.Namespace) -> tuple[BootLog | None, list[str]]:
    """Return the boot log of a file or of a running service, and what could not be seen."""
    if args.boot_log:
        from tools.sizing import bootlog

        return bootlog.read(args.boot_log), []
    live = _live(args, ask_endpoint=False)
    if live is None:
        return None, []
    return live.log, ["", *(f"Not seen: {gap}." for gap in live.gaps)] if live.gaps else []


def _history(args: argparse.Namespace) -> tuple[dict[str, tuple[float, ...]], list[str]]:
    if not (args.logs or args.service or args.demo):
        return {}, []
    from tools.sizing.starts import history, observed_starts

    if args.logs:
        from tools.logs.sources import read_logs

        return history(observed_starts(read_logs(args.logs))), []
    from tui.sizing_live import running_service

    live, starts = running_service(args, ask_endpoint=False)
    return history(starts), ["", *(f"Not seen: {gap}." for gap in live.gaps)] if live.gaps else []


def _request(args: argparse.Namespace, log: BootLog | None) -> FitRequest:
    from tools.sizing.request import FitRequest
    from tools.sizing.version import LATEST

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


def _metrics(path: str) -> EndpointMetrics:
    from tools.vllm.metrics import parse_metrics

    return parse_metrics(_text(path))


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
