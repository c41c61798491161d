from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from agent import events as e
from tools.errors import ConfigurationError
from tui import chat as chat_module
from tui import keys, transcript
from tui.app import ChatApp
from tui.plain import GLYPHS
from tui.running import Opened
from tui.widgets.answer import FrozenAnswer, LiveAnswer
from tui.widgets.notes import Notice, Question
from tui.widgets.prompt import Prompt
from tui.widgets.reasoning import Reasoning
from tui.widgets.status_line import StatusLine
from tui.widgets.tool_card import ToolCard
from tui.widgets.verdict_card import VerdictCard

# What is text in a call that waits for an approval.
ASKED = (
    "call",
    "tool",
    "effect",
    "does",
    "cost",
    "blast_radius",
    "undo",
    "confirm",
    "again",
    "hash",
)


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


def said(app: ChatApp) -> str:
    return "\n".join(str(note.render()) for note in app.chat.query(Notice))


def shown(card: Any) -> str:
    return "\n".join(str(part.render()) for part in card.query(Static))


@pytest.fixture
def idle(scripted: Any, connect: Any) -> ChatApp:
    return ChatApp(connect(scripted()))


async def test_a_diagnosis_becomes_cards_and_a_verdict(
    scripted: Any, connect: Any, diagnosis: Any, answer: Any
) -> None:
    session = scripted(diagnosis, answer)
    app = ChatApp(connect(session))
    async with app.run_test(size=(80, 24)) as pilot:
        await send(pilot, "/diagnose gemma-4-12b")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        assert session.asked[0].service == "gemma-4-12b"
        assert [card.state for card in app.chat.query(ToolCard)] == ["failed", "ok"]
        first, second = (shown(card) for card in app.chat.query(ToolCard))
        assert first.startswith("✗ failed   probe_endpoint  https://gemma.example  0.4 s")
        assert second.startswith("✓ ok       read_logs  gemma-4-12b  1.3 s  212 entries")
        assert "Rules answer, not the model: the endpoint refused" in said(app)
        await send(pilot, "why?")
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 1)
        assert not app.chat.query(LiveAnswer)
        assert session.unused == 0


async def test_first_paint_does_not_wait_for_the_session(scripted: Any) -> None:
    gate = asyncio.Event()

    @contextlib.asynccontextmanager
    async def slowly() -> AsyncIterator[Opened]:
        await gate.wait()
        yield Opened(scripted([e.AnswerFinished("late", "model"), e.TurnFinished("t", 1)]))

    app = ChatApp(slowly)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.chat.opened is None
        assert app.chat.query_one(Prompt).has_focus
        await send(pilot, "asked while loading")
        assert not app.chat.query(FrozenAnswer)
        gate.set()
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 1)


async def test_foreign_text_is_never_markup(scripted: Any, connect: Any) -> None:
    evil = "[bold red]x[/] [@click=app.quit]y[/] [/nope] \x1b[31m"
    events = [
        e.BrainChanged("rules", evil),
        e.EndpointState(evil, evil),
        e.PhaseChanged("probe", evil),
        e.ToolStarted("c", evil, evil, {"a": evil}),
        e.ToolFinished("c", evil, "ok", 1.0, evil, evil, (evil,)),
        e.Stalled(evil, 5),
        e.ApprovalAsked("a", [dict.fromkeys(ASKED, evil) | {"arguments": {evil: evil}}], evil),
        e.ReasoningDelta(evil),
        e.AnswerDelta(evil),
        e.AnswerFinished(evil, "rules"),
        e.VerdictReached({"verdict": evil, "causes": [{"title": evil, "fix": [evil]}]}),
        e.TurnFailed(evil),
        e.TurnFinished("t", 1.0),
    ]
    app = ChatApp(connect(scripted(events)))
    async with app.run_test(size=(120, 60)) as pilot:
        await send(pilot, evil)
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        await until(pilot, lambda: app.chat.turns.current is None)
        app.chat.query_one(ToolCard).expanded = True
        app.chat.query_one(Reasoning).expanded = True
        await pilot.pause()
        text = "\n".join(str(part.render()) for part in app.chat.query(Static))
        assert "[@click=app.quit]y[/]" in text
        assert "\x1b" not in text
        assert "\x1b" not in app.chat.query_one(StatusLine).line(300)


async def test_cards_open_by_key_and_show_arguments_and_output(
    scripted: Any, connect: Any, diagnosis: Any
) -> None:
    app = ChatApp(connect(scripted(diagnosis)))
    async with app.run_test() as pilot:
        await send(pilot, "/diagnose")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        card = app.chat.query(ToolCard).first()
        card.focus()
        await pilot.press("space")
        await pilot.pause()
        assert '"wake": false' in shown(card)
        assert "ECONNREFUSED" in shown(card)
        await pilot.press("enter")
        await pilot.pause()
        assert not card.expanded
        await pilot.press("down")
        assert app.chat.query(ToolCard).last().has_focus
        await pilot.press("c")
        assert "output\nline" in app.clipboard


async def test_a_verdict_shows_its_top_and_what_follows_is_followed(
    scripted: Any, connect: Any, diagnosis: Any, answer: Any
) -> None:
    app = ChatApp(connect(scripted(diagnosis, answer)))
    async with app.run_test(size=(80, 24)) as pilot:
        await send(pilot, "/diagnose")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        card = app.chat.query_one(VerdictCard)
        await until(pilot, lambda: card.region.y in {0, 1})
        await send(pilot, "why?")
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 1)
        view = app.chat.transcript
        await until(pilot, lambda: view.scroll_y == view.max_scroll_y)
        await send(pilot, "/help")
        await until(pilot, lambda: view.scroll_y == view.max_scroll_y > 0)


async def test_a_card_opens_by_mouse(scripted: Any, connect: Any, diagnosis: Any) -> None:
    app = ChatApp(connect(scripted(diagnosis)))
    async with app.run_test(size=(80, 60)) as pilot:
        await send(pilot, "/diagnose")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        await until(pilot, lambda: app.chat.turns.current is None)
        await pilot.pause(0.1)
        await pilot.click(ToolCard)
        await pilot.pause()
        assert app.chat.query(ToolCard).first().expanded


async def test_the_verdict_opens_to_all_evidence(
    scripted: Any, connect: Any, report: dict[str, Any]
) -> None:
    report["evidence"].append({"id": "E3", "source": "run", "ref": "x", "quote": "uncited"})
    app = ChatApp(connect(scripted([e.VerdictReached(report), e.TurnFinished("t", 1)])))
    async with app.run_test(size=(120, 60)) as pilot:
        await send(pilot, "/diagnose")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        card = app.chat.query_one(VerdictCard)
        await pilot.pause()
        text = shown(card)
        for expected in (
            "E1  logging",
            "ValueError",
            "runbook wna16-no-kernel",
            "1 more (space shows all)",
        ):
            assert expected in text, expected
        assert "uncited" not in text
        card.focus()
        await pilot.press("space")
        await until(pilot, lambda: "uncited" in shown(card))
        await pilot.press("c")
        assert app.clipboard.startswith("# ✗ Cause confirmed · SIMULATED")


async def test_esc_stops_the_step_and_says_so(scripted: Any, connect: Any, answer: Any) -> None:
    hanging = [e.ToolStarted("c", "read_logs"), asyncio.Event()]
    session = scripted(hanging, answer)
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await send(pilot, "hang")
        await until(pilot, lambda: len(app.chat.query(ToolCard)) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: "Stopped." in said(app))
        assert session.cancelled == 1
        assert app.chat.query_one(ToolCard).state == "cancelled"
        await send(pilot, "and now?")
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 1)
        await pilot.press("escape")
        assert session.cancelled == 1


async def test_what_is_typed_while_busy_is_queued(scripted: Any, connect: Any, answer: Any) -> None:
    gate = asyncio.Event()
    session = scripted([gate, e.TurnFinished("t", 1.0)], answer)
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await send(pilot, "first")
        await until(pilot, lambda: session.asked == ["first"])
        await send(pilot, "second")
        assert session.asked == ["first"]
        assert "(+1 queued)" in app.chat.query_one(StatusLine).line(80)
        gate.set()
        await until(pilot, lambda: session.asked == ["first", "second"])
        await until(pilot, lambda: "queued" not in app.chat.query_one(StatusLine).line(80))


async def test_a_crash_of_a_turn_keeps_the_session(
    scripted: Any, connect: Any, answer: Any, tmp_path: Path
) -> None:
    session = scripted([e.AnswerDelta("half "), RuntimeError("boom secret")], answer)
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await send(pilot, "crash")
        await until(pilot, lambda: "unexpected RuntimeError; the session goes on" in said(app))
        assert "secret" not in said(app)
        assert "boom" in (tmp_path / "gemma-sre.log").read_text()
        assert app.chat.query_one(FrozenAnswer)._text.strip() == "half"
        await send(pilot, "still there?")
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 2)


async def test_a_session_that_can_not_open_says_why_and_is_tried_again(
    scripted: Any, answer: Any
) -> None:
    tries = []

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Opened]:
        tries.append(1)
        if len(tries) == 1:
            raise ConfigurationError("No project.", fix="Set GOOGLE_CLOUD_PROJECT.")
        yield Opened(scripted(answer))

    app = ChatApp(connect)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "Set GOOGLE_CLOUD_PROJECT." in said(app))
        await send(pilot, "again")
        await until(pilot, lambda: len(app.chat.query(FrozenAnswer)) == 1)


async def test_slash_commands(idle: ChatApp) -> None:
    async with idle.run_test() as pilot:
        await send(pilot, "/hlep")
        assert "There is no command /hlep. Did you mean /help?" in said(idle)
        await send(pilot, "/help")
        assert "/diagnose [service]" in said(idle)
        for binding in keys.bindings():
            assert binding.tooltip in said(idle)
        await send(pilot, "/incidents")
        await until(pilot, lambda: "No incidents are recorded yet" in said(idle))
        await send(pilot, "/quit")
        await until(pilot, lambda: idle._exit)
    assert idle.return_code == 0


async def test_leaving_closes_the_session(scripted: Any, connect: Any) -> None:
    session = scripted()
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.chat.opened is not None)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit)
        assert session.closed


async def test_leaving_in_the_middle_of_a_turn_stops_it(scripted: Any, connect: Any) -> None:
    session = scripted([asyncio.Event()])
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await send(pilot, "hang")
        await until(pilot, lambda: app.chat.turns.current is not None)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit)
        assert session.closed


async def test_incidents_are_listed_and_opened(
    scripted: Any, connect: Any, report: dict[str, Any], tmp_path: Path
) -> None:
    from agent.memory import Memory

    state = tmp_path / "state.db"
    memory = Memory.open(state)
    turn = memory.start_turn(memory.start_session(), "diagnose", "diagnose", {})
    memory.finish_turn(turn, "finished", report=report, record_incident=True)
    memory.close()
    app = ChatApp(connect(scripted(), state))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.chat.opened is not None)
        await pilot.press("f3")
        await until(pilot, lambda: len(app.screen.query(OptionList)) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen.query(VerdictCard)) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)


async def test_the_prompt_has_lines_a_history_and_completion(scripted: Any, connect: Any) -> None:
    turns = [[e.TurnFinished("t", 0.1)] for _ in range(2)]
    app = ChatApp(connect(scripted(*turns)))
    async with app.run_test() as pilot:
        prompt = app.chat.query_one(Prompt)
        await pilot.press("a", "ctrl+j", "b")
        assert prompt.text == "a\nb"
        await pilot.press("enter")
        assert prompt.text == ""
        await send(pilot, "second")
        await pilot.press("d", "up")
        assert prompt.text == "second"
        await pilot.press("up")
        assert prompt.text == "a\nb"
        await pilot.press("down", "down")
        assert prompt.text == "d"
        prompt.text = "/dia"
        await pilot.press("tab")
        assert prompt.text == "/diagnose "


async def test_enter_never_overtakes_the_letters_before_it(scripted: Any, connect: Any) -> None:
    from textual.events import Key

    session = scripted([e.TurnFinished("t", 0.1)])
    app = ChatApp(connect(session))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.chat.opened is not None)
        for letter in "quickly":
            app.post_message(Key(letter, letter))
        app.post_message(Key("enter", "\r"))
        await until(pilot, lambda: session.asked)
        assert session.asked == ["quickly"]


async def test_the_palette_has_the_commands_of_the_table(idle: ChatApp) -> None:
    from tui.commands import in_chat
    from tui.palette import TableCommands

    async with idle.run_test() as pilot:
        await pilot.pause()
        provider = TableCommands(idle.screen)
        hits = [hit async for hit in provider.discover()]
        assert [hit.help for hit in hits] == [command.summary for command in in_chat()]
        found = [hit async for hit in provider.search("diagn")]
        assert len(found) == 1
        await found[0].command()  # type: ignore[misc]


def test_every_binding_has_an_id_and_a_tooltip_and_none_is_bound_twice() -> None:
    for place in (ChatApp, *keys.PLACES):
        own = [b for b in vars(place).get("BINDINGS", []) if isinstance(b, Binding)]
        assert len(own) == len(vars(place).get("BINDINGS", []))
        names = [key for b in own for key in b.key.split(",")]
        assert len(names) == len(set(names))
        assert all(b.id and b.tooltip for b in own)
    ids = [b.id for b in [*keys.bindings(), *keys.command_bindings()]]
    assert len(ids) == len(set(ids))


async def test_old_messages_are_let_go(
    scripted: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "MOUNTED_LIMIT", 10)
    app = ChatApp(connect(scripted()))
    async with app.run_test() as pilot:
        for number in range(30):
            await app.chat.transcript.add(Question(str(number)))
        await pilot.pause()
        assert len(app.chat.transcript.children) == 10


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, 200])
def test_the_status_line_fits_and_keeps_what_matters_most(width: int) -> None:
    line = StatusLine()
    line.set_reactive(StatusLine.simulated, True)
    line.set_reactive(StatusLine.place, "project/us-central1")
    line.set_reactive(StatusLine.brain, "rules")
    line.set_reactive(StatusLine.endpoint, e.EndpointState("ready", "gemma", "", 4096, 1234))
    text = line.line(width)
    assert len(text) <= width
    if width >= 20:
        assert "SIMULATED" in text
    if width == 200:
        assert text == (
            "SIMULATED │ ● ready │ starting │ rules only │ window 1.2k/4.1k │ gemma │ "
            "project/us-central1"
        )


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (300, 100)])
async def test_any_size_is_survived(
    size: tuple[int, int], scripted: Any, connect: Any, diagnosis: Any
) -> None:
    app = ChatApp(connect(scripted(diagnosis)))
    async with app.run_test(size=size) as pilot:
        await send(pilot, "/diagnose")
        await until(pilot, lambda: len(app.chat.query(VerdictCard)) == 1)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()


def test_states_have_different_glyphs_within_a_group() -> None:
    tools = ["ok", "failed", "skipped", "cancelled", "running"]
    verdicts = ["healthy", "confirmed", "likely", "insufficient"]
    for group in (tools, verdicts):
        assert len({GLYPHS[name] for name in group}) == len(group)


@pytest.mark.parametrize("term", ["", "dumb"])
def test_no_screen_on_a_dumb_terminal(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", term)
    assert "cursor" in chat_module.why_no_screen()
    monkeypatch.setenv("TERM", "xterm-256color")
    assert chat_module.why_no_screen() == ""


async def test_an_earlier_session_is_shown_when_it_goes_on(
    scripted: Any, report: dict[str, Any], tmp_path: Path
) -> None:
    from agent.memory import Memory

    state = tmp_path / "state.db"
    memory = Memory.open(state)
    session = memory.start_session()
    first = memory.start_turn(session, "diagnose", "diagnose [b]x[/b]", {})
    memory.finish_turn(first, "finished", report=report)
    second = memory.start_turn(session, "ask", "why?", {})
    memory.finish_turn(second, "finished", answer="Because **so**.", author="rules")
    memory.start_turn(session, "ask", "and then?", {})
    memory.close()

    played = scripted()
    played.id = session

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Opened]:
        yield Opened(played, state=state, resumed=True)

    app = ChatApp(connect)
    async with app.run_test() as pilot:
        await until(pilot, lambda: f"Session {session} goes on." in said(app))
        assert [str(q.render()) for q in app.chat.query(Question)] == [
            "> diagnose [b]x[/b]",
            "> why?",
            "> and then?",
        ]
        assert len(app.chat.query(VerdictCard)) == 1
        assert len(app.chat.query(FrozenAnswer)) == 1
        assert "It was cut off." in said(app)
