from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from agent import events as e
from agent.events import Decision
from tui.app import ChatApp
from tui.messages import Decided
from tui.widgets.approval_card import DEAF_S, ApprovalCard
from tui.widgets.prompt import Prompt
from tui.widgets.status_line import StatusLine


def call(name: str = "c1", **changes: Any) -> dict[str, Any]:
    return {
        "call": name,
        "tool": "roll_back_traffic",
        "arguments": {"revision": "gemma-00010"},
        "effect": "change",
        "target": {"kind": "cloud-run", "service": "gemma", "project": "p", "location": "us-east4"},
        "does": "Send 100 % of the traffic of gemma to gemma-00010.",
        "before": {"traffic": {"gemma-00011": 100}},
        "after": {"traffic": {"gemma-00010": 100}},
        "cost": "",
        "blast_radius": "Every caller of [bold]gemma[/bold].",
        "undo": "gcloud run services update-traffic gemma --to-revisions gemma-00011=100",
        "confirm": "",
        "again": "",
        "hash": "0bddca56cae7bcb21be5b521b0419c851bb85ffcf5ad582580973400b1dcf49e",
        **changes,
    }


def ask(*calls: dict[str, Any]) -> e.ApprovalAsked:
    return e.ApprovalAsked("a-1", calls or (call(),), "2026-11-21T05:18:47+00:00")


DESTROY = call("c2", tool="delete_queued_resource", effect="destroy", confirm="old-queue")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class CardApp(App[None]):
    """Holds one card and what it decided."""

    def __init__(self, asked: e.ApprovalAsked, clock: Clock) -> None:
        super().__init__()
        self.card = ApprovalCard(asked, clock)
        self.decided: list[Decided] = []

    def compose(self) -> ComposeResult:
        yield self.card
        yield Input(id="prompt")

    def on_mount(self) -> None:
        self.card.focus()

    def on_decided(self, message: Decided) -> None:
        self.decided.append(message)

    def text(self) -> str:
        return "\n".join(str(part.render()) for part in self.card.query(Static))


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_the_card_shows_all_that_would_happen_as_plain_text(clock: Clock) -> None:
    app = CardApp(ask(call(again="the approval had expired")), clock)
    async with app.run_test(size=(100, 30)):
        text = app.text()
    for part in (
        "CHANGE, call 1 of 1",
        'roll_back_traffic({"revision": "gemma-00010"})',
        "on: gemma (cloud-run, p/us-east4)",
        'before: {"traffic": {"gemma-00011": 100}}',
        'after: {"traffic": {"gemma-00010": 100}}',
        "cost difference: not known",
        "blast radius: Every caller of [bold]gemma[/bold].",
        "undo: gcloud run services update-traffic",
        "bound to: 0bddca56cae7bcb2",
        "Asked again: the approval had expired",
        "Until 05:18 UTC",
    ):
        assert part in text


async def test_keys_of_the_first_half_second_are_ignored(clock: Clock) -> None:
    app = CardApp(ask(), clock)
    async with app.run_test() as pilot:
        await pilot.press("a")
        clock.now += DEAF_S - 0.01
        await pilot.press("a", "d")
        await pilot.pause()
        assert not app.decided
        assert not app.card.query(Input)
        clock.now += 0.02
        await pilot.press("a")
        await pilot.pause()
        (decided,) = app.decided
        assert decided.approval == "a-1"
        assert decided.decisions == {"c1": Decision(True)}
        assert app.card.answered
        assert "approved" in app.text()
        clock.now += 1
        await pilot.press("a", "d")  # what is answered is answered
        await pilot.pause()
        assert len(app.decided) == 1


async def test_a_denial_takes_a_reason(clock: Clock) -> None:
    app = CardApp(ask(), clock)
    async with app.run_test() as pilot:
        clock.now += 1
        await pilot.press("d", *"later", "escape")  # thought better of it
        assert not app.decided
        assert app.card.has_focus
        await pilot.press("d", *"no", "enter")
        await pilot.pause()
        assert app.decided[0].decisions == {"c1": Decision(False, reason="no")}
        assert "denied (no)" in app.text()


async def test_what_destroys_is_typed_by_name(clock: Clock) -> None:
    app = CardApp(ask(DESTROY), clock)
    async with app.run_test() as pilot:
        clock.now += 1
        await pilot.press("a")
        await pilot.press(*"old", "enter")
        await pilot.pause()
        assert not app.decided
        assert "That is not the name." in app.text()
        await pilot.press(*"-queue", "enter")
        await pilot.pause()
        assert app.decided[0].decisions == {"c2": Decision(True, typed="old-queue")}


async def test_each_call_of_a_batch_is_decided_and_all_is_answered_at_once(clock: Clock) -> None:
    app = CardApp(ask(call("c1"), DESTROY, call("c3")), clock)
    async with app.run_test(size=(100, 40)) as pilot:
        clock.now += 1
        await pilot.press("a")
        await pilot.pause()
        assert "DESTROY, call 2 of 3" in app.text()
        await pilot.press("d")  # deaf again: the second call has just appeared
        assert not app.card.query(Input)
        clock.now += 1
        await pilot.press("d", "enter")
        await pilot.pause()
        clock.now += 1
        assert not app.decided
        await pilot.press("a")
        await pilot.pause()
        (decided,) = app.decided
        assert [one.approved for one in decided.decisions.values()] == [True, False, True]
        assert decided.summary.startswith("approve roll_back_traffic, deny delete_queued")


# -- in the chat


async def until(pilot: Pilot[int], condition: Any) -> None:
    for _ in range(300):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("the condition never held")


async def send(pilot: Pilot[int], text: str) -> None:
    prompt = pilot.app.screen.query_one(Prompt)
    prompt.focus()
    prompt.text = text
    await pilot.press("enter")
    await pilot.pause()


ASKING = [e.TurnStarted("t1", "s-scripted", "roll back"), e.PhaseChanged("gate"), ask()]
ENDING = [e.AnswerFinished("Rolled back.", "model"), e.TurnFinished("t1", 1.0)]


def card_of(app: ChatApp) -> ApprovalCard:
    return app.chat.query_one(ApprovalCard)


def hear(card: ApprovalCard) -> None:
    card._deaf_until = 0.0


async def test_a_turn_that_asks_goes_on_when_it_is_answered(scripted: Any, connect: Any) -> None:
    session = scripted(ASKING, ENDING, [e.TurnFinished("t2", 1.0)])
    app = ChatApp(connect(session))
    async with app.run_test(size=(80, 30)) as pilot:
        await send(pilot, "roll back")
        await until(pilot, lambda: len(app.chat.query(ApprovalCard)) == 1)
        await until(pilot, lambda: card_of(app).has_focus)
        assert "waiting for approval" in app.chat.query_one(StatusLine).doing
        await send(pilot, "something else")  # waits behind the approval
        assert session.asked == ["roll back"]
        card_of(app).focus()
        hear(card_of(app))
        await pilot.press("a")
        await until(pilot, lambda: session.unused == 0)
        assert session.asked == [
            "roll back",
            ("a-1", {"c1": Decision(True)}),
            "something else",
        ]


async def test_who_is_writing_keeps_the_prompt(scripted: Any, connect: Any) -> None:
    import asyncio

    gate = asyncio.Event()
    session = scripted([*ASKING[:2], gate, ASKING[2]])
    app = ChatApp(connect(session))
    async with app.run_test(size=(80, 30)) as pilot:
        await send(pilot, "roll back")
        await until(pilot, lambda: session.asked)
        await pilot.press(*"and")
        gate.set()
        await until(pilot, lambda: len(app.chat.query(ApprovalCard)) == 1)
        await pilot.press(*" also")
        assert app.chat.query_one(Prompt).text == "and also"
        assert not card_of(app).answered


async def test_a_pending_approval_is_shown_again_after_a_restart(
    scripted: Any, connect: Any
) -> None:
    import contextlib
    from dataclasses import replace

    session = scripted(ENDING)
    session.pending = ask()
    inner = connect(session)

    @contextlib.asynccontextmanager
    async def again() -> AsyncIterator[Any]:
        async with inner() as opened:
            yield replace(opened, resumed=True)

    app = ChatApp(again)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: len(app.chat.query(ApprovalCard)) == 1)
        await until(pilot, lambda: card_of(app).has_focus)
        hear(card_of(app))
        await pilot.press("d", *"no", "enter")
        await until(pilot, lambda: session.unused == 0)
        assert session.asked == [("a-1", {"c1": Decision(False, reason="no")})]


async def test_a_turn_that_was_cut_off_goes_on_by_itself(scripted: Any, connect: Any) -> None:
    import contextlib
    from dataclasses import replace

    session = scripted(ENDING)
    session.cut_off = True
    inner = connect(session)

    @contextlib.asynccontextmanager
    async def again() -> AsyncIterator[Any]:
        async with inner() as opened:
            yield replace(opened, resumed=True)

    app = ChatApp(again)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: session.asked == ["resume"])
        await until(pilot, lambda: session.unused == 0)
