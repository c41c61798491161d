from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from agent import events as e
from tools.errors import GemmaSreError
from tools.simulator.scenario import Expected
from tui import headless, headless_check, headless_demo, headless_progress
from tui.headless_progress import Progress
from tui.running import mark_simulated


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("healthy", 0), ("confirmed", 1), ("likely", 1), ("insufficient", 3), ("odd", 3)],
)
async def test_the_verdict_is_the_exit_code(
    verdict: str, code: int, report: dict[str, Any], scripted: Any
) -> None:
    report["verdict"] = verdict
    session = scripted([e.VerdictReached(report), e.TurnFinished("t", 1.0)])
    assert await headless.collect(session.diagnose(None)) == (report, code)


async def test_a_turn_without_a_report_is_an_error_with_the_turns_own_code(scripted: Any) -> None:
    session = scripted([e.TurnFailed("No cloud. Set it up.", 2), e.TurnFinished("t", 1.0)])
    with pytest.raises(GemmaSreError, match="No cloud") as caught:
        await headless.collect(session.diagnose(None))
    assert caught.value.exit_code == 2


async def test_a_turn_that_just_ends_is_an_error(scripted: Any) -> None:
    with pytest.raises(GemmaSreError, match="without a verdict"):
        await headless.collect(scripted([e.TurnFinished("t", 1.0)]).diagnose(None))


async def test_a_report_of_a_turn_that_failed_keeps_the_failures_code(
    report: dict[str, Any], scripted: Any
) -> None:
    session = scripted([e.VerdictReached(report), e.TurnFailed("The disk is full.", 2)])
    assert await headless.collect(session.diagnose(None)) == (report, 2)


def test_simulated_is_marked_and_a_name_is_kept() -> None:
    assert mark_simulated({"target": {}})["target"] == {"simulated": True}
    assert mark_simulated({"target": {"simulated": "x"}})["target"] == {"simulated": "x"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    EVENTS = (
        e.PhaseChanged("probe"),
        e.ToolStarted("c1", "read_logs", "svc\x1b[2J"),
        e.Stalled("model", 10),
        e.ToolFinished("c1", "read_logs", "ok", 1.0),
    )

    def run(self, stream: io.StringIO, *, quiet: bool = False) -> str:
        with Progress(quiet=quiet, stream=stream) as progress:
            for event in self.EVENTS:
                progress.show(event)
        return stream.getvalue()

    def test_a_terminal_gets_one_line_that_is_gone_at_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        said = self.run(Terminal())
        assert "\n" not in said
        assert said.endswith("\r\x1b[K")
        assert "read_logs svc\\x1b[2J" in said

    def test_a_file_gets_nothing_in_the_first_second(self) -> None:
        assert self.run(io.StringIO()) == ""

    def test_a_file_gets_plain_lines_later_and_none_with_json(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(headless_progress, "PATIENCE_S", -1.0)
        assert self.run(io.StringIO()).splitlines() == ["looking", "model: nothing for 10 s"]
        assert self.run(io.StringIO(), quiet=True) == ""

    def test_a_dumb_terminal_gets_no_escapes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        assert "\x1b" not in self.run(Terminal())


class TestDemo:
    EXPECTED = Expected("confirmed", 1, ("wna16-no-kernel",), "failing", ("quota",))

    def test_as_expected(self, report: dict[str, Any]) -> None:
        assert headless_demo.differences(report, 1, self.EXPECTED) == []

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"verdict": "likely"}, "the verdict is confirmed, expected likely"),
            ({"causes": ("a",)}, "the causes is"),
            ({"exit_code": 3}, "the exit code is 1, expected 3"),
            ({"service_state": "serving"}, "the service state is failing"),
            ({"gaps_contain": ("logging",)}, "no gap says 'logging'"),
        ],
    )
    def test_each_difference_is_said(
        self, change: dict[str, Any], says: str, report: dict[str, Any]
    ) -> None:
        found = headless_demo.differences(report, 1, replace(self.EXPECTED, **change))
        assert len(found) == 1
        assert says in found[0]


def test_a_point_of_the_check_is_a_glyph_a_word_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    point = headless_check.Point(
        name="permission run.services.get", state="failed", detail="denied\x1b[1m", fix="Grant it."
    )
    shown = headless_check.show(point)
    assert shown == (
        "✗ failed  permission run.services.get: denied\\x1b[1m\n          → Grant it.\n"
    )


def test_incidents_are_listed_and_shown(
    report: dict[str, Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent.memory import Memory
    from tui import cli

    assert cli.main(["incident", "list"]) == 0
    assert "No incidents" in capsys.readouterr().out
    memory = Memory.open(tmp_path / "state.db")
    turn = memory.start_turn(memory.start_session(), "diagnose", "diagnose", {})
    incident = memory.finish_turn(turn, "finished", report=report, record_incident=True)
    memory.close()
    assert incident
    assert cli.main(["incident"]) == 0
    assert incident in capsys.readouterr().out
    assert cli.main(["incident", "list", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [incident]
    assert cli.main(["incident", "show", incident]) == 0
    assert "No int4 kernel for this GPU [confirmed]" in capsys.readouterr().out
    assert cli.main(["incident", "show", incident, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["verdict"] == "confirmed"
    assert cli.main(["incident", "show", incident, "--markdown"]) == 0
    assert "## No int4 kernel" in capsys.readouterr().out
    assert cli.main(["incident", "show", "nope"]) == 2
    assert "incident list" in capsys.readouterr().err


def test_a_missing_scenario_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from tui import cli

    assert cli.main(["demo", "validate", "/nonexistent.yaml"]) == 2
    assert "/nonexistent.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "point"),
    [
        ({"name": "a", "ok": True, "detail": "d", "role": ""}, ("a", "ok", "d", "")),
        (
            {"name": "a", "ok": False, "detail": "d", "role": "roles/x"},
            ("a", "failed", "d", "Grant roles/x."),
        ),
        (
            {"name": "m", "kind": "metric", "state": "not seen", "detail": ""},
            ("metric m", "skipped", "", ""),
        ),
        (
            {"name": "m", "kind": "metric", "state": "unknown", "detail": "no"},
            ("metric m", "failed", "no", ""),
        ),
    ],
)
def test_both_forms_of_a_check_become_points(found: dict[str, Any], point: Any) -> None:
    from types import SimpleNamespace

    assert headless_check.point_of(SimpleNamespace(**found)) == headless_check.Point(*point)


def test_a_lost_task_is_kept_and_not_printed(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio
    import gc

    from tui.crash import watch_loop

    async def fail() -> None:
        raise RuntimeError("lost")

    async def main() -> None:
        watch_loop()
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(main())
    assert "lost" in (tmp_path / "gemma-sre.log").read_text()
    assert capsys.readouterr().err == ""
