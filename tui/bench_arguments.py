"""What bench, query and metrics take. Functions over an argparse parser, as in tui.arguments."""

from __future__ import annotations

from tui.arguments import as_json, where

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

# Equal to tools.load.schedule.SHAPES and the names of tools.load.figures; tests hold them so.
SHAPES = ("poisson", "constant", "ramp")
FIGURES = (
    "throughput",
    "requests",
    "ttft",
    "ttft-p95",
    "tpot",
    "e2e",
    "e2e-p95",
    "goodput",
    "success",
)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return ``1,2,4`` or ``1..64`` (doubling) as numbers; raises ValueError."""
    if ".." in text:
        low, high = (int(part) for part in text.split("..", 1))
        if low < 1 or high < low:
            raise ValueError(text)
        found = []
        while low < high:
            found.append(low)
            low *= 2
        return (*found, high)
    return tuple(int(part) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Return ``0.5,1,2`` as numbers; raises ValueError."""
    return tuple(float(part) for part in text.split(","))


def _service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", metavar="SERVICE", help="which service")
    where(parser)


def _slo(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("objective of a request, in milliseconds")
    group.add_argument("--slo-ttft", type=float, metavar="MS", help="to the first token, from due")
    group.add_argument("--slo-tpot", type=float, metavar="MS", help="per token after the first")
    group.add_argument("--slo-e2e", type=float, metavar="MS", help="for the whole request")


def _load(parser: argparse.ArgumentParser) -> None:
    _service(parser)
    axes = parser.add_argument_group("axes (1,2,4 or 1..64, which doubles)")
    axes.add_argument("--concurrency", type=whole_numbers, metavar="N,…", help="default: 1..32")
    axes.add_argument("--input", type=whole_numbers, metavar="N,…", help="tokens (default: 512)")
    axes.add_argument("--output", type=whole_numbers, metavar="N,…", help="tokens (default: 128)")
    axes.add_argument("--rate", type=numbers, metavar="R,…", help="open loop: requests a second")
    axes.add_argument("--shape", choices=SHAPES, default="poisson", help="of an open loop")
    axes.add_argument("--end-rate", type=float, default=0.0, metavar="R", help="of a ramp")
    axes.add_argument("--max-in-flight", type=int, default=512, metavar="N", help="default: 512")
    axes.add_argument(
        "--find", choices=("knee", "rate"), default="", help="search instead of sweeping"
    )
    axes.add_argument(
        "--share",
        type=float,
        default=0.99,
        help="of requests inside the objective at the best rate (default: 0.99)",
    )
    time = parser.add_argument_group("time, in seconds")
    time.add_argument("--window", type=float, default=20.0, metavar="S", help="default: 20")
    time.add_argument("--warmup", type=float, default=5.0, metavar="S", help="default: 5")
    time.add_argument("--timeout", type=float, default=600.0, metavar="S", help="of a request")
    time.add_argument("--stall", type=float, default=30.0, metavar="S", help="silence in a stream")
    time.add_argument("--repeats", type=int, default=1, metavar="N", help="of every cell")
    _slo(parser)
    prompt = parser.add_argument_group("requests")
    prompt.add_argument("--prompts", default="", metavar="FILE", help="real prompts, a line each")
    prompt.add_argument("--seed", type=int, default=0, metavar="N")
    prompt.add_argument("--stop-early", action="store_true", help="let answers end by themselves")
    prompt.add_argument(
        "--thinking", choices=("on", "off"), help="default: as the model's template"
    )
    prompt.add_argument("--temperature", type=float, metavar="T")
    prompt.add_argument(
        "--beyond-kv", action="store_true", help="also loads that overfill the KV cache"
    )
    money = parser.add_argument_group("budget")
    money.add_argument("--usd-per-hour", type=float, metavar="USD", help="price of the endpoint")
    money.add_argument("--max-seconds", type=float, metavar="S")
    money.add_argument("--max-usd", type=float, metavar="USD")
    about = parser.add_argument_group("what is recorded of the deployment")
    about.add_argument("--accelerator", default="", metavar="A")
    about.add_argument("--region", default="", metavar="R")
    about.add_argument("--flags", default="", metavar="TEXT", help="of vllm serve")
    about.add_argument("--label", default="", metavar="TEXT", help="a name for the run's model")
    parser.add_argument(
        "--demo", action="store_true", help="against a simulated endpoint of known capacity"
    )


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench plan` takes."""
    _load(parser)
    as_json(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench run` takes."""
    _load(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask, whatever it costs")
    parser.add_argument(
        "--no-calibrate", action="store_true", help="do not measure the client's own error first"
    )
    as_json(parser)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench list` takes."""
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="default: 20")
    as_json(parser)


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench show` takes."""
    parser.add_argument("run", metavar="RUN", help="an id, part of one, `latest`, or a file")
    parser.add_argument("--figure", choices=FIGURES, default="throughput")
    as_json(parser)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench compare` takes."""
    parser.add_argument("first", metavar="RUN")
    parser.add_argument("second", metavar="RUN")
    as_json(parser)
    parser.epilog = "Exit codes: 0 compared, 1 refused because the runs are unlike, 2 wrong usage."


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench report` takes."""
    parser.add_argument("run", metavar="RUN", help="an id, part of one, `latest`, or a file")
    parser.add_argument("--to", default="", metavar="FILE", help="default: RUN.html here")
    as_json(parser)


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench import` takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="CSV grids or JSON results")
    said = parser.add_argument_group("what the file does not say")
    said.add_argument("--model", default="", metavar="NAME", help="that the figures are of")
    said.add_argument("--label", default="", metavar="TEXT", help="that they were published under")
    said.add_argument("--output", type=int, metavar="N", help="tokens of an answer")
    said.add_argument("--prompts", choices=("unique", "identical", "file"), default="")
    said.add_argument("--accelerator", default="", metavar="A")
    said.add_argument("--vllm-version", default="", metavar="V")
    as_json(parser)


def add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `query` takes."""
    parser.add_argument("prompt", metavar="QUESTION", help="- reads it from stdin")
    parser.add_argument("--service", default="", metavar="SERVICE", help="which service")
    where(parser)
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="default: 512")
    parser.add_argument(
        "--thinking", choices=("on", "off"), help="default: as the model's template"
    )
    parser.add_argument("--temperature", type=float, metavar="T")
    parser.add_argument("--image", action="append", default=[], metavar="FILE")
    parser.add_argument("--show-thinking", action="store_true", help="print the reasoning too")
    as_json(parser)


def add_metrics_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `metrics` takes."""
    _service(parser)
    parser.add_argument(
        "--demo", metavar="NAME|FILE", help="use a simulated cloud (see `gemma-sre demo list`)"
    )
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    parser.add_argument(
        "--interval", type=float, default=5.0, metavar="S", help="of a window (default: 5)"
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N windows")
    parser.add_argument("--wake", action="store_true", help="ask a service scaled to zero too")
    parser.add_argument(
        "--slo", default="", metavar="FILE", help="default: slo.toml beside state.db"
    )
    as_json(parser)
    parser.epilog = (
        "Exit codes: 0 nothing found, 1 a threshold is broken, 2 wrong usage or no answer."
    )
