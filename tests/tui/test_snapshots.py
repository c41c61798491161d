"""Parts of the transcript, fed with events, in the real style sheet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from agent import events as e
from tui.app import ChatApp
from tui.widgets.prompt import Prompt
from tui.widgets.tool_card import ToolCard

SIZES = [(80, 24), (120, 40)]

RUNNING = [
    e.TurnStarted("t1", "s", "q"),
    e.ToolStarted("c1", "list_revisions", "gemma-4-12b"),
    e.ToolStarted("c2", "read_logs", "gemma-4-12b"),
    e.ToolStarted("c3", "read_quota", "us-central1"),
    e.ToolStarted("c4", "probe_endpoint", "https://gemma.example/with/a/long/path/that/goes/on"),
    e.ToolFinished("c1", "list_revisions", "ok", 0.3, "11 revisions, the newest not ready"),
    e.ToolFinished("c3", "read_quota", "failed", 1.2, "403: serviceusage.quotas.get is missing"),
    e.ToolFinished("c4", "probe_endpoint", "skipped", 0.0, "scaled to zero, so not woken"),
]

Play = Callable[[Pilot[int]], Awaitable[None]]


@pytest.fixture(params=SIZES, ids=["80x24", "120x40"])
def snapshot_of(
    request: pytest.FixtureRequest, snap_compare: Any, scripted: Any, connect: Any
) -> Callable[..., bool]:
    def compare(events: Any, then: Play | None = None) -> bool:
        app = ChatApp(connect(scripted()))

        async def play(pilot: Pilot[int]) -> None:
            app.chat.query_one(Prompt).cursor_blink = False
            for _ in range(200):
                if app.chat.opened is not None:
                    break
                await pilot.pause(0.01)
            for event in events:
                await app.chat._show(event)
            app.chat.status.doing = ""
            if then:
                await then(pilot)
            await pilot.pause()
            await pilot.pause()

        return bool(snap_compare(app, terminal_size=request.param, run_before=play))

    return compare


def test_the_first_screen(snapshot_of: Any) -> None:
    assert snapshot_of([])


def test_tools_in_each_state(snapshot_of: Any) -> None:
    assert snapshot_of(RUNNING)


def test_an_opened_tool(snapshot_of: Any, diagnosis: Any) -> None:
    async def unfold(pilot: Pilot[int]) -> None:
        card = pilot.app.screen.query(ToolCard).first()
        card.focus()
        await pilot.press("space")

    assert snapshot_of(diagnosis[:7], unfold)


def test_a_verdict(snapshot_of: Any, diagnosis: Any) -> None:
    assert snapshot_of(diagnosis)


def test_a_healthy_verdict(snapshot_of: Any, report: dict[str, Any]) -> None:
    healthy = {
        **report,
        "verdict": "healthy",
        "causes": [],
        "changes": [],
        "hypotheses": [],
        "similar": [],
        "service_state": "serving",
        "impact": "Requests are answered.",
        "evidence": report["evidence"][1:],
        "incident": None,
    }
    assert snapshot_of([e.VerdictReached(healthy)])


def test_an_answer_with_code_and_a_link(snapshot_of: Any) -> None:
    text = (
        "The **int4** kernel is missing on the L4.\n\n"
        "- remove `--linear-backend`\n- read [the notes](https://example.com/notes)\n\n"
        "```bash\ngcloud run services update gemma-4-12b\n```\n"
    )
    assert snapshot_of([e.ReasoningDelta("a b c"), e.AnswerFinished(text, "model")])


def test_an_answer_of_the_rules(snapshot_of: Any) -> None:
    events = [
        e.EndpointState("stalled", "gemma", window=4096, used=900),
        e.BrainChanged("rules", "the endpoint accepted the connection and said nothing"),
        e.AnswerFinished("No revision serves. See `/diagnose`.", "rules"),
        e.TurnFailed("The disk is full; nothing was written. Free some room."),
    ]
    assert snapshot_of(events)


def test_no_color(snapshot_of: Any, diagnosis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snapshot_of(diagnosis[:7])
