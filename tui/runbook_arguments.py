"""What the commands over runbooks take."""

from __future__ import annotations

from tui.arguments import as_json

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

NAME = "a runbook's id, or the path of its file"
FORMS = ("markdown", "html", "json")  # equal to runbooks.export.FORMS; a test holds them so


def _without(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without", action="append", default=[], metavar="ID", help="leave a runbook out"
    )


def draft(parser: argparse.ArgumentParser) -> None:
    """Add what a draft is made from, and where it goes."""
    source = parser.add_argument_group("what to draft from (one of them)")
    source.add_argument(
        "--logs",
        action="extend",
        nargs="+",
        metavar="FILE",
        help="exported logs: JSON, JSON lines, text; gzipped too; - is stdin",
    )
    source.add_argument("--incident", default="", metavar="ID", help="a recorded incident")
    source.add_argument(
        "--pattern", default="", metavar="ID", help="a pattern that `logs patterns` showed"
    )
    _without(parser)
    parser.add_argument("--id", default="", dest="name", metavar="ID", help="the new runbook's id")
    parser.add_argument("--rules-only", action="store_true", help="do not ask the model")
    parser.add_argument("--base-url", metavar="URL", help="the vLLM endpoint that writes the prose")
    parser.add_argument("--model", metavar="NAME", help="model name to ask the endpoint for")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write it to a new file")
    parser.add_argument(
        "--json", action="store_true", help="print the draft, its trials and findings as JSON"
    )


def list_(parser: argparse.ArgumentParser) -> None:
    """Add which runbooks to list."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="only those that speak of this")
    parser.add_argument("--status", default="", metavar="S", help="only those in this status")
    as_json(parser)


def show(parser: argparse.ArgumentParser) -> None:
    """Add the runbook, and which version of it."""
    parser.add_argument("name", nargs="?", default="", metavar="ID|FILE", help=NAME)
    parser.add_argument(
        "--digest", default="", metavar="HASH", help="the version that an incident showed"
    )
    as_json(parser)


def lint(parser: argparse.ArgumentParser) -> None:
    """Add the runbooks to check."""
    parser.add_argument("names", nargs="*", metavar="ID|FILE", help=f"{NAME}; none: all of them")
    _without(parser)
    as_json(parser)


def approve(parser: argparse.ArgumentParser) -> None:
    """Add the runbook to approve."""
    parser.add_argument("name", metavar="ID|FILE", help=NAME)
    _without(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--withdraw", action="store_true", help="take the approval back")
    as_json(parser)


def diff(parser: argparse.ArgumentParser) -> None:
    """Add the two to compare."""
    parser.add_argument("name", metavar="ID|FILE", help=NAME)
    parser.add_argument(
        "other", nargs="?", default="", metavar="ID|FILE", help="default: the version before it"
    )


def export(parser: argparse.ArgumentParser) -> None:
    """Add the runbook, the form and where it goes."""
    parser.add_argument("name", metavar="ID|FILE", help=NAME)
    parser.add_argument(
        "--format", choices=FORMS, default="markdown", dest="form", help="default: markdown"
    )
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write it to a new file")
