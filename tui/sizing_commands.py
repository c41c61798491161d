"""fit, cost, recommend, lint and memory without a screen: argument by argument, text or JSON."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from tools.sizing.fit import FitResult
    from tools.sizing.request import FitRequest

FINDINGS = 1  # exit code of lint with an error, and of fit when it does not fit
BAR_WIDTH = 60


def add_fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `fit` takes; what follows ``--`` are options of `vllm serve`."""
    _what(parser)
    parser.add_argument(
        "--kv-gib", type=float, metavar="X", help="a device's KV memory, given instead of derived"
    )
    parser.add_argument(
        "--boot-log", metavar="FILE", default="", help="take what this start measured"
    )
    parser.add_argument("--cold", action="store_true", help="first start: nothing compiled yet")
    _json(parser)
    _rest(parser, "vllm_flags", "options of `vllm serve`")
    parser.epilog = "Exit codes: 0 it fits, 1 it does not, 2 wrong usage."


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


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `cost` takes."""
    _what(parser)
    parser.add_argument(
        "--duty", type=float, default=1.0, metavar="S", help="share of the time in use (default: 1)"
    )
    parser.add_argument("--users", type=int, default=1, metavar="N", help="requests at once")
    parser.add_argument("--context", type=int, default=0, metavar="N", help="tokens a request")
    parser.add_argument(
        "--tokens-per-s", type=float, default=0.0, metavar="R", help="measured, over all users"
    )
    parser.add_argument(
        "--kind",
        choices=("on-demand", "spot", "flex-start", "cloud-run"),
        default="",
        help="only this kind of offer",
    )
    _json(parser)
    _rest(parser, "vllm_flags", "options of `vllm serve`")


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


def add_recommend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `recommend` takes."""
    parser.add_argument("--users", type=int, default=1, metavar="N", help="requests at once")
    parser.add_argument(
        "--context", type=int, default=8192, metavar="N", help="tokens a request (default: 8192)"
    )
    parser.add_argument(
        "--tokens-per-s", type=float, default=0.0, metavar="R", help="wished for each user"
    )
    parser.add_argument("--budget", type=float, default=0.0, metavar="USD", help="dollars a month")
    parser.add_argument(
        "--traffic",
        choices=("steady", "office", "bursty"),
        default="steady",
        help="always, ten hours of five days, or a tenth of the time (default: steady)",
    )
    parser.add_argument("--tools", action="store_true", help="tool calling is needed")
    parser.add_argument("--images", action="store_true", help="images are needed")
    parser.add_argument("--region", default="", metavar="R", help="such as us-central1")
    parser.add_argument("--models", nargs="+", default=(), metavar="M", help="only these")
    parser.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="ACCELERATOR=N",
        help="at most N devices of one kind; can be repeated",
    )
    parser.add_argument("--limit", type=int, default=5, metavar="N", help="options shown")
    parser.add_argument("--rejections", action="store_true", help="show what was turned down")
    _json(parser)


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


def add_lint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `lint` takes."""
    parser.add_argument("--vllm-version", default="", metavar="V", help="of the image")
    parser.add_argument("--accelerator", default="", metavar="A", help="what it runs on")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="devices there are")
    parser.add_argument("--model", default="", metavar="M", help="when the command names none")
    parser.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="NAME=VERSION",
        help="of the image: transformers, huggingface_hub; can be repeated",
    )
    source = parser.add_argument_group("what to check, one of")
    source.add_argument("--command", metavar="FILE", help="a file with the command; - is stdin")
    source.add_argument("--args-json", metavar="FILE", help="a JSON list or object of the options")
    source.add_argument("--boot-log", metavar="FILE", help="the `non-default args` of a start")
    _json(parser)
    _rest(parser, "vllm_flags", "the command itself: -- vllm serve …")
    parser.epilog = "Exit codes: 0 no error found, 1 an error, 2 wrong usage."


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


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `memory` takes."""
    parser.add_argument("--boot-log", metavar="FILE", default="", help="the log of a start")
    parser.add_argument("--logs", metavar="FILE", default="", help="the same, an export of logs")
    parser.add_argument("--metrics", metavar="FILE", default="", help="the text of /metrics")
    parser.add_argument("--accelerator", default="", metavar="A", help="to compare with a size")
    parser.add_argument("--model", default="", metavar="M", help="when the log names none")
    _json(parser)


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


def _what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="E2B, E4B, 12B, 26B-A4B, 31B, a hub id, or a folder"
    )
    parser.add_argument(
        "--precision", default="", metavar="P", help="bf16, fp8, w8a8, w4a16, nvfp4, …"
    )
    parser.add_argument("--accelerator", required=True, metavar="A", help="L4, H100, v6e, …")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="devices (default: 1)")
    parser.add_argument("--text-only", action="store_true", help="a checkpoint without towers")
    parser.add_argument("--vllm-version", default="", metavar="V", help="of the image")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _rest(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    # argparse gives what follows `--` to the first positional that wants it, before the options
    # that stand in front of it are read; so it is taken off before argparse sees it.
    original = parser.parse_known_args

    def parse(
        args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        cut = words.index("--") if "--" in words else len(words)
        parsed, unknown = original(words[:cut], namespace)
        setattr(parsed, name, words[cut + 1 :])
        return parsed, unknown

    parser.parse_known_args = parse  # type: ignore[method-assign, assignment]
    parser.usage = f"{parser.format_usage().removeprefix('usage: ').strip()} [-- {what}]"


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
