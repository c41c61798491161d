"""What the commands over recorded incidents, sessions and the audit log take."""

from __future__ import annotations

from tui.arguments import as_json

TYPE_CHECKING = False  # see tui.commands
if TYPE_CHECKING:
    import argparse

INCIDENT = "the incident's id, or how it begins"
SESSION = "the session's id, how it begins, or its name"


def incident_search(parser: argparse.ArgumentParser) -> None:
    """Add words to search for."""
    parser.add_argument(
        "words", nargs="+", metavar="WORD", help="an id, a fingerprint, a cause, or any words"
    )
    parser.add_argument(
        "--limit", type=int, default=10, metavar="N", help="at most N (default: 10)"
    )
    as_json(parser)


def incident_resolve(parser: argparse.ArgumentParser) -> None:
    """Add the incident and what fixed it."""
    parser.add_argument("id", metavar="ID", help=INCIDENT)
    parser.add_argument("words", nargs="+", metavar="FIX", help="what fixed it, in a sentence")
    as_json(parser)


def incident_note(parser: argparse.ArgumentParser) -> None:
    """Add the incident and the note."""
    parser.add_argument("id", metavar="ID", help=INCIDENT)
    parser.add_argument("words", nargs="+", metavar="TEXT", help="the note")
    parser.add_argument(
        "--action", action="store_true", help="it says what was done, not what was seen"
    )
    as_json(parser)


def incident_export(parser: argparse.ArgumentParser) -> None:
    """Add the incident and where to."""
    parser.add_argument("id", metavar="ID", help=INCIDENT)
    _output(parser)
    as_json(parser)


def session_list(parser: argparse.ArgumentParser) -> None:
    """Add what the list of sessions takes."""
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="at most N (default: 20)"
    )
    as_json(parser)


def session_show(parser: argparse.ArgumentParser) -> None:
    """Add the session."""
    parser.add_argument("id", metavar="SESSION", help=SESSION)
    as_json(parser)


def session_rename(parser: argparse.ArgumentParser) -> None:
    """Add the session and its new name."""
    parser.add_argument("id", metavar="SESSION", help=SESSION)
    parser.add_argument("words", nargs="+", metavar="NAME", help="the new name")
    as_json(parser)


def session_export(parser: argparse.ArgumentParser) -> None:
    """Add the session and where to."""
    parser.add_argument("id", metavar="SESSION", help=SESSION)
    _output(parser)
    as_json(parser)


def session_delete(parser: argparse.ArgumentParser) -> None:
    """Add the session and the consent."""
    parser.add_argument("id", metavar="SESSION", help=SESSION)
    _yes(parser)
    as_json(parser)


def audit_show(parser: argparse.ArgumentParser) -> None:
    """Add which entries."""
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="the newest N (default: 20)"
    )
    parser.add_argument(
        "--kind", default="", metavar="K", help="only this kind, such as model_request"
    )
    as_json(parser)


def audit_verify(parser: argparse.ArgumentParser) -> None:
    """Add what else to check against."""
    parser.add_argument(
        "file", nargs="?", default="", metavar="FILE", help="an exported log instead of state.db"
    )
    parser.add_argument(
        "--head", default="", metavar="N:HASH", help="a head that was kept elsewhere"
    )
    as_json(parser)
    parser.epilog = "Exit codes: 0 the log is whole, 1 it was tampered with, 2 wrong usage."


def audit_export(parser: argparse.ArgumentParser) -> None:
    """Add where to."""
    _output(parser)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of JSON lines")


def state_prune(parser: argparse.ArgumentParser) -> None:
    """Add what is old, and what to keep."""
    parser.add_argument(
        "--older-than", default="", metavar="90d", help="what was last used before (90d, 12h)"
    )
    parser.add_argument(
        "--keep-incidents", action="store_true", help="keep resolved incidents, however old"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go; change nothing")
    _yes(parser)
    as_json(parser)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", default="", metavar="FILE", help="write a new file instead of stdout"
    )


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask first")
