"""What each command takes. Functions over an argparse parser, so that none is built unused."""

from __future__ import annotations

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

# Equal to agent.memory's statuses and tools.domain.KINDS; tests hold them so. Importing either
# here would cost --help more than everything else it does.
KINDS = ("auto", "cloud-run", "tpu", "vertex", "gce", "gke", "local")
SHELLS = ("bash", "zsh", "fish")


def where(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which cloud and which endpoint are meant."""
    group = parser.add_argument_group("where")
    group.add_argument("--project", metavar="P", help="Google Cloud project")
    group.add_argument("--location", metavar="L", help="region, such as us-central1")
    group.add_argument("--zone", metavar="Z", help="zone, for TPUs, such as us-east5-b")
    group.add_argument("--base-url", metavar="URL", help="the vLLM endpoint, with or without /v1")
    group.add_argument("--model", metavar="NAME", help="model name to ask the endpoint for")


def demo(parser: argparse.ArgumentParser) -> None:
    """Add --demo."""
    parser.add_argument(
        "--demo", metavar="NAME|FILE", help="use a simulated cloud (see `gemma-sre demo list`)"
    )


def as_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def chat(parser: argparse.ArgumentParser) -> None:
    """Add what the chat takes."""
    where(parser)
    demo(parser)
    parser.add_argument("--session", metavar="ID", help="go on with an earlier session")


def diagnose(parser: argparse.ArgumentParser) -> None:
    """Add what a diagnosis takes."""
    parser.add_argument("service", nargs="?", default="", metavar="SERVICE", help="which service")
    where(parser)
    parser.add_argument(
        "--kind", choices=KINDS, default="auto", help="where it runs (default: found out)"
    )
    window = parser.add_argument_group("when")
    window.add_argument("--since", metavar="1h", help="how far back to look (default: 1h)")
    window.add_argument("--from", dest="start", default="", metavar="T", help="start, ISO 8601")
    window.add_argument("--to", dest="end", default="", metavar="T", help="end, ISO 8601")
    source = parser.add_argument_group("what to read")
    source.add_argument(
        "--logs",
        action="extend",
        nargs="+",
        metavar="FILE",
        help="exported logs instead of a cloud: JSON, JSON lines, text; gzipped too; - is stdin",
    )
    demo(source)  # type: ignore[arg-type]  # a group takes arguments as a parser does
    source.add_argument(
        "--wake",
        action="store_true",
        help="probe a service scaled to zero too (it starts, and costs)",
    )
    source.add_argument("--rules-only", action="store_true", help="do not ask the model")
    source.add_argument(
        "--without-runbook",
        action="append",
        default=[],
        metavar="ID",
        help="leave a runbook out, to see what is recognised without it",
    )
    output = parser.add_argument_group("output")
    style = output.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="print the report as JSON")
    style.add_argument("--markdown", action="store_true", help="print the report as Markdown")
    output.add_argument("--no-record", action="store_true", help="keep no incident in state.db")
    parser.epilog = (
        "Exit codes: 0 healthy, 1 a cause was found, 3 not enough evidence, "
        "2 wrong usage or set-up, or nothing could be probed."
    )


def incident_list(parser: argparse.ArgumentParser) -> None:
    """Add what the list of incidents takes."""
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="at most N (default: 20)"
    )
    parser.add_argument("--status", default="", metavar="S", help="only those in this status")
    as_json(parser)


def incident_show(parser: argparse.ArgumentParser) -> None:
    """Add what one incident takes."""
    parser.add_argument("id", metavar="ID", help="the incident's id, as `incident list` shows it")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="print JSON")
    style.add_argument("--markdown", action="store_true", help="print Markdown")


def demo_run(parser: argparse.ArgumentParser) -> None:
    """Add what a demo takes."""
    parser.add_argument(
        "name", nargs="?", default="int4-kernel-l4", metavar="NAME|FILE", help="which scenario"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="no chat: print the diagnosis; exit 0 if it is the scenario's expected one, else 1",
    )
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="with --check: print JSON")
    style.add_argument("--markdown", action="store_true", help="with --check: print Markdown")


def demo_validate(parser: argparse.ArgumentParser) -> None:
    """Add what validating a scenario takes."""
    parser.add_argument("file", metavar="FILE", help="a scenario file, or a shipped name")
    as_json(parser)


def check(parser: argparse.ArgumentParser) -> None:
    """Add what the self-check takes."""
    where(parser)
    demo(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask Google, read-only, whether it knows each metric and log name we use",
    )
    as_json(parser)


def completion(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")
