"""What a person must decide before something changes: the exact call, and what it would do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from agent.events import ApprovalAsked, Decision
from tui.messages import CopyAsked, Decided
from tui.plain import clean, one_line

# A key that was meant for the prompt must not approve what has just appeared under it.
DEAF_S = 0.5
_FOREIGN = 2_000  # characters shown of one text; c copies the whole


class ApprovalCard(Vertical, can_focus=True):
    """One call after another is approved, or denied with a reason; then all goes off at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve", "Approve", id="approval.approve", tooltip="Approve this call"),
        Binding("d", "deny", "Deny", id="approval.deny", tooltip="Deny this call with a reason"),
        Binding("escape", "back", "Back", id="approval.back", tooltip="Back to the prompt"),
        Binding("c", "copy", "Copy", id="approval.copy", tooltip="Copy what is asked"),
    ]

    def __init__(self, asked: ApprovalAsked, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(classes="card approval")
        self.asked = asked
        self.decisions: dict[str, Decision] = {}
        self._clock = clock
        self._deaf_until = 0.0
        self._typing = ""  # approve | deny

    @property
    def answered(self) -> bool:
        """Return whether every call has been decided."""
        return len(self.decisions) == len(self.asked.calls)

    @property
    def call(self) -> Mapping[str, Any]:
        """Return the call that is to be decided now; the last one when all are."""
        return self.asked.calls[min(len(self.decisions), len(self.asked.calls) - 1)]

    def compose(self) -> ComposeResult:
        """Show the call to decide, after those that were decided."""
        for number, call in enumerate(self.asked.calls, 1):
            taken = self.decisions.get(str(call["call"]))
            if taken is not None:
                yield _text(f"{number}. {_exact(call)}: {_said(taken)}", "quiet")
        if self.answered:
            return
        yield from self._open_call()

    def on_mount(self) -> None:
        """Stay deaf for a moment: what is typed now was meant for something else."""
        self._deaf_until = self._clock() + DEAF_S

    def body_text(self) -> str:
        """Return everything that is asked, as JSON."""
        return clean(json.dumps([dict(call) for call in self.asked.calls], indent=2, default=str))

    # -- keys

    async def action_approve(self) -> None:
        """Approve the call; what destroys must be typed by name first."""
        if self._deaf() or self._typing:
            return
        if self.call.get("confirm"):
            await self._open_input("approve", "the name, then Enter")
        else:
            await self._decide(Decision(True))

    async def action_deny(self) -> None:
        """Ask why, then deny the call."""
        if not self._deaf() and not self._typing:
            await self._open_input("deny", "why not? Enter sends, Esc goes back")

    async def action_back(self) -> None:
        """Close the line that is being typed, else go to the prompt."""
        if self._typing:
            self._typing = ""
            await self.query(Input).remove()
            self.focus()
        else:
            self.screen.query_one("#prompt").focus()

    def action_copy(self) -> None:
        """Ask for what is asked to be copied."""
        self.post_message(CopyAsked(self.body_text(), "approval"))

    @on(Input.Submitted)
    async def _typed(self, message: Input.Submitted) -> None:
        message.stop()
        if self._typing == "deny":
            await self._decide(Decision(False, reason=message.value.strip()))
        elif message.value.strip() == self.call["confirm"]:
            await self._decide(Decision(True, typed=message.value.strip()))
        else:
            self.query_one("#approval-hint", Static).update("That is not the name.")

    def _deaf(self) -> bool:
        return self.answered or self._clock() < self._deaf_until

    async def _open_input(self, typing: str, placeholder: str) -> None:
        self._typing = typing
        field = Input(placeholder=placeholder, compact=True)
        await self.mount(field)
        field.focus()

    async def _decide(self, decision: Decision) -> None:
        self._typing = ""
        self.decisions[str(self.call["call"])] = decision
        await self.recompose()
        self.set_class(self.answered, "-answered")
        self._deaf_until = self._clock() + DEAF_S  # the next call has just appeared
        if self.answered:
            self.post_message(Decided(self.asked.approval, dict(self.decisions), self._summary()))
        else:
            self.focus()

    # -- text

    def _open_call(self) -> Iterator[Static]:
        call, total = self.call, len(self.asked.calls)
        number = len(self.decisions) + 1
        effect = one_line(call.get("effect", "change")).upper()
        yield _text(f"? Approve? {effect}, call {number} of {total}", "approval-head")
        if call.get("again"):
            yield _text(f"Asked again: {one_line(call['again'])}", "approval-again")
        yield _text(_exact(call), "approval-call")
        for name, value in _facts(call):
            yield _text(f"{name}: {value}", "indent")
        expires = one_line(self.asked.expires)[11:16]
        until = f" Until {expires} UTC." if expires else ""
        if call.get("confirm"):
            how = f"a, then the name {one_line(call['confirm'])}, approves"
        else:
            how = "a approves"
        hint = f"{how}; d denies with a reason.{until} Nothing runs before that."
        yield Static(hint, markup=False, classes="quiet", id="approval-hint")

    def _summary(self) -> str:
        said = []
        for call in self.asked.calls:
            taken = self.decisions[str(call["call"])]
            verb = "approve" if taken.approved else "deny"
            said.append(f"{verb} {one_line(call['tool'])}")
        return ", ".join(said)


def _facts(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    target = call.get("target") or {}
    place = "/".join(
        one_line(target[name]) for name in ("project", "location", "zone") if target.get(name)
    )
    yield (
        "on",
        f"{one_line(target.get('service', ''))} ({one_line(target.get('kind', ''))}, {place})",
    )
    yield "does", _cut(call.get("does", ""))
    yield "before", _cut(_json(call.get("before", {})))
    yield "after", _cut(_json(call.get("after", {})))
    yield "cost difference", _cut(call.get("cost") or "not known")
    yield "blast radius", _cut(call.get("blast_radius", ""))
    yield "undo", _cut(call.get("undo", ""))
    yield "bound to", one_line(call.get("hash", ""))[:16]


def _exact(call: Mapping[str, Any]) -> str:
    return f"{one_line(call['tool'])}({one_line(_json(call.get('arguments', {})))})"


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _cut(text: object) -> str:
    return one_line(text, _FOREIGN)


def _said(decision: Decision) -> str:
    if decision.approved:
        return "approved"
    return f"denied ({one_line(decision.reason)})" if decision.reason else "denied"


def _text(text: str, classes: str) -> Static:
    return Static(text, markup=False, classes=classes)
