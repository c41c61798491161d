"""From parsed arguments to an open session: what the chat and the headless commands share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent.events import ApprovalAsked, Decision, Event
from tools.errors import UsageError

if TYPE_CHECKING:
    from agent.session import DiagnoseRequest
    from agent.settings import Settings


class Conversation(Protocol):
    """What a front end needs of ``agent.session.Session``; tests script it."""

    id: str

    def diagnose(self, request: DiagnoseRequest, /) -> AsyncIterator[Event]:
        """Run one diagnosis."""
        ...

    def ask(self, text: str, /) -> AsyncIterator[Event]:
        """Answer one question."""
        ...

    def approve(self, approval: str, decisions: Mapping[str, Decision], /) -> AsyncIterator[Event]:
        """Go on with the turn that waits, with a decision for each call."""
        ...

    async def pending_approval(self) -> ApprovalAsked | None:
        """Return what a person still has to decide, after a restart too."""
        ...

    def was_cut_off(self) -> bool:
        """Return whether a turn was cut off after an approval."""
        ...

    def resume(self) -> AsyncIterator[Event]:
        """Go on with the turn that was cut off."""
        ...

    async def cancel(self) -> None:
        """Stop the step that runs; the turn ends with what there is."""
        ...

    async def close(self) -> None:
        """Give back files and connections."""
        ...


def preload(demo: bool = False, *, brain: bool = True) -> None:
    """Import what a diagnosis needs, about two seconds of CPU; a third of it is the model's client.

    The screen does it in a thread. Without a screen it comes before the event loop, because a
    loop hears of Ctrl-C only between imports, and would begin what it is then told to stop.
    """
    from importlib import import_module

    names = ["agent.session", "agent.graph"]
    names += ["agent.model"] if brain else []
    names += ["agent.demo", "tools.simulator.cloud"] if demo else []
    for name in names:
        import_module(name)


def settings_of(args: argparse.Namespace) -> Settings:
    """Load the settings; a flag beats the environment, which beats the file."""
    from agent.settings import Settings

    flags = ("project", "location", "zone", "base_url", "model")
    overrides: dict[str, Any] = {name: getattr(args, name, None) for name in flags}
    return Settings.load(**{name: value for name, value in overrides.items() if value})


def request_of(args: argparse.Namespace) -> DiagnoseRequest:
    """Return what a diagnosis is asked for.

    Raises UsageError for a combination that has no meaning.
    """
    logs = tuple(args.logs or ())
    if args.since and (args.start or args.end):
        raise UsageError("--since and --from/--to exclude each other.", fix="Give one of them.")
    if args.end and not args.start:
        raise UsageError("--to needs --from.", fix="Give the start of the time window too.")
    if logs and args.demo:
        raise UsageError("--logs and --demo exclude each other.", fix="Give one of them.")
    if logs.count("-") > 1:
        raise UsageError("stdin can be read once only.", fix="Give --logs - once.")
    from agent.session import DiagnoseRequest

    return DiagnoseRequest(
        service=args.service,
        kind=args.kind,
        since=args.since or "1h",
        start=args.start,
        end=args.end,
        logs=logs,
        rules_only=args.rules_only,
        record=not args.no_record,
        wake=args.wake,
        without=tuple(getattr(args, "without_runbook", ())),
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """An open session and what the screen shows of its settings."""

    session: Conversation
    place: str = ""  # "project/us-central1"
    simulated: bool = False
    state: Path = Path("state.db")
    resumed: bool = False


@contextlib.asynccontextmanager
async def open_session(
    settings: Settings,
    *,
    demo: str = "",
    session: str = "",
    request: DiagnoseRequest | None = None,
    interactive: bool = False,
) -> AsyncIterator[Opened]:
    """Open a session, on a simulated cloud when ``demo`` names one; close both in the end.

    With a request, the session is the one in which a killed process left that diagnosis. Only an
    ``interactive`` one may ask a person to approve a change; any other refuses it.
    """
    from agent.session import Session

    async with contextlib.AsyncExitStack() as stack:
        if demo:
            from agent.demo import open_demo

            settings = await stack.enter_async_context(open_demo(demo, settings))
        if request is not None:
            opened = await Session.open_for(settings, request)
        else:
            opened = await Session.open(settings, session=session or None, interactive=interactive)
        stack.push_async_callback(opened.close)
        place = (settings.project, settings.zone or settings.location)
        yield Opened(
            session=opened,
            place="/".join(part for part in place if part),
            simulated=bool(settings.simulated),
            state=settings.state,
            resumed=bool(session),
        )


def mark_simulated(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report with ``target.simulated`` set."""
    return {**report, "target": {"simulated": True, **report.get("target", {})}}
