"""What the commands over logs take."""

from __future__ import annotations

from tui.arguments import KINDS, as_json, demo, where

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

FILES = "exported logs: JSON, JSON lines, text; gzipped too; - is stdin"


def _source(parser: argparse.ArgumentParser, since: str = "1h") -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"{FILES}; none: the cloud")
    where(parser)
    cloud = parser.add_argument_group("which logs of the cloud")
    cloud.add_argument("--service", default="", metavar="S", help="which service")
    cloud.add_argument("--kind", choices=KINDS, default="auto", help="where it runs")
    cloud.add_argument("--since", metavar="1h", help=f"how far back to look (default: {since})")
    cloud.add_argument("--from", dest="start", default="", metavar="T", help="start, ISO 8601")
    cloud.add_argument("--to", dest="end", default="", metavar="T", help="end, ISO 8601")
    cloud.add_argument("--revision", default="", metavar="R", help="only of this revision")
    demo(cloud)  # type: ignore[arg-type]  # a group takes arguments as a parser does


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--contains", default="", metavar="TEXT", help="only with this text")
    parser.add_argument(
        "--severity",
        default="",
        metavar="LEVEL",
        help="this severity or graver; what a container prints to Cloud Run has none",
    )


def read(parser: argparse.ArgumentParser) -> None:
    """Add what reading logs takes."""
    _source(parser)
    _filters(parser)
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most N entries")
    parser.add_argument("--newest", action="store_true", help="the newest first")
    parser.add_argument(
        "--page-token", default="", metavar="T", help="go on where an earlier reading ended"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def patterns(parser: argparse.ArgumentParser) -> None:
    """Add what mining takes."""
    _source(parser)
    parser.add_argument(
        "--max", type=int, default=50, dest="maximum", metavar="N", help="at most N patterns"
    )
    parser.add_argument("--limit", type=int, default=10_000, metavar="N", help="entries a window")
    parser.add_argument(
        "--baseline", default="", metavar="FILE", help="a log of before, for the lift"
    )
    parser.add_argument(
        "--assignments", action="store_true", help="print one group id a line, in input order"
    )
    parser.add_argument(
        "--no-record", action="store_true", help="neither use nor extend the history in state.db"
    )
    as_json(parser)


def root_cause(parser: argparse.ArgumentParser) -> None:
    """Add what the search for the root cause takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help=FILES)
    parser.add_argument(
        "--without-runbook", action="append", default=[], metavar="ID", help="leave a runbook out"
    )
    as_json(parser)


def tail(parser: argparse.ArgumentParser) -> None:
    """Add what following a log takes."""
    _source(parser, since="1m")
    _filters(parser)
    parser.add_argument(
        "--poll", type=float, default=3.0, metavar="S", help="seconds between two looks"
    )
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="stop after N looks (default: never)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
