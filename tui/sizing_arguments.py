"""What fit, cost, recommend, lint and memory take; the standard library alone, for --help."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


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
    _service(parser, "--service", "take what its newest start measured, from Cloud Logging")
    _json(parser)
    _rest(parser, "vllm_flags", "options of `vllm serve`")
    parser.epilog = "Exit codes: 0 it fits, 1 it does not, 2 wrong usage."


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
    parser.add_argument(
        "--refresh", action="store_true", help="read the prices from Google's catalogue first"
    )
    parser.add_argument(
        "--logs",
        action="extend",
        nargs="+",
        metavar="FILE",
        default=[],
        help="exported logs: how long earlier starts took",
    )
    _service(parser, "--service", "how long its starts took, from Cloud Logging and state.db")
    _json(parser)
    _rest(parser, "vllm_flags", "options of `vllm serve`")


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


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `memory` takes."""
    _service(parser, "service", "a running service; its newest start is read from Cloud Logging")
    parser.add_argument("--boot-log", metavar="FILE", default="", help="the log of a start")
    parser.add_argument("--logs", metavar="FILE", default="", help="the same, an export of logs")
    parser.add_argument("--metrics", metavar="FILE", default="", help="the text of /metrics")
    parser.add_argument("--accelerator", default="", metavar="A", help="when it is not found out")
    parser.add_argument("--model", default="", metavar="M", help="when the log names none")
    _json(parser)


def add_refresh_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prices refresh` takes."""
    parser.add_argument("--region", default="", metavar="R", help="price this region too")
    parser.add_argument(
        "--demo", action="store_true", help="read a simulated catalogue, and keep nothing"
    )
    _json(parser)


def _service(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    if name.startswith("--"):
        parser.add_argument(name, metavar="NAME", default="", help=what)
    else:
        parser.add_argument(name, nargs="?", metavar="SERVICE", default="", help=what)
    group = parser.add_argument_group("where")
    group.add_argument("--project", metavar="P", help="Google Cloud project")
    group.add_argument("--location", metavar="L", help="region, such as us-central1")
    group.add_argument("--zone", metavar="Z", help="zone, for TPUs")
    group.add_argument("--base-url", metavar="URL", help="the vLLM endpoint")
    group.add_argument("--demo", metavar="NAME|FILE", help="use a simulated cloud")


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
