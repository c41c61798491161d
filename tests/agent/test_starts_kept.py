"""Observed starts in state.db: each once, newest first, bounded."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

from agent import starts as kept
from agent.database import StateFile
from agent.starts import Starts
from tools.sizing.starts import ObservedStart

BEGAN = datetime(2026, 6, 6, 8, tzinfo=UTC)


def start(number, service="s"):
    return ObservedStart(
        began=BEGAN + timedelta(hours=number), service=service, revision="s-1", ready=True,
        phases={"loading weights": 30.0 + number},
    )  # fmt: skip


def test_each_start_is_kept_once(tmp_path):
    with closing(StateFile(tmp_path / "state.db")) as file:
        starts = Starts(file)
        assert starts.keep([start(1), start(2), start(1, "other")]) == 3
        assert starts.keep([start(2), start(3)]) == 1
        assert starts.of("s") == (start(3), start(2), start(1))
        assert starts.of("nobody") == ()


def test_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "KEPT", 3)
    with closing(StateFile(tmp_path / "state.db")) as file:
        starts = Starts(file)
        starts.keep(start(number) for number in range(6))
        assert [one.began.hour for one in starts.of("s")] == [13, 12, 11]
