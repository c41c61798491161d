from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import ConfigurationError
from tools.measure.history import History
from tools.measure.slo import DAY, HOUR, Count, Objective, burn, count_of, read_objectives, standing
from tools.vllm.metrics import EndpointMetrics, Histogram

NOW = 1_800_000_000.0
GOAL = Objective("availability", "availability", 0.999)


def by_hand() -> list[Count]:
    """Three days at 1,000 requests an hour: one bad each hour, and 20 in the last one."""
    counts = [Count(NOW - 72 * HOUR, 0, 0)]
    for hour in range(1, 73):
        last = counts[-1]
        bad = 20 if hour == 72 else 1
        counts.append(Count(NOW - (72 - hour) * HOUR, last.good + 1000 - bad, last.total + 1000))
    return counts


def test_burn_rates_by_hand() -> None:
    found = standing(GOAL, by_hand(), NOW)
    hour, six, three = found.burns
    # 20 of 1,000 are bad where 1 of 1,000 may be: 20 times the budget's pace.
    assert (hour.total, hour.bad, hour.covered) == (1000, 20, HOUR)
    assert hour.rate == pytest.approx(20)
    assert hour.alerting
    assert hour.asks == "page"
    # 5 × 1 + 20 of 6,000.
    assert six.rate == pytest.approx((25 / 6000) / 0.001)
    assert not six.alerting
    # 71 × 1 + 20 of 72,000.
    assert three.rate == pytest.approx((91 / 72_000) / 0.001)
    assert three.alerting
    assert three.asks == "ticket"
    # Of what was seen of the period, 91 of 72 allowed.
    assert found.left == pytest.approx(1 - 91 / 72)
    assert found.covered == 72 * HOUR


def test_the_whole_budget_in_a_month_burns_at_one() -> None:
    counts = [Count(NOW - 30 * DAY, 0, 0), Count(NOW, 99_900, 100_000)]
    found = standing(GOAL, counts, NOW)
    assert found.left == pytest.approx(0)
    assert burn(GOAL, counts, NOW, 30 * DAY).rate == pytest.approx(1)


def test_a_restart_loses_nothing_that_was_seen() -> None:
    counts = [
        Count(NOW - 3000, 500, 500),
        Count(NOW - 2000, 590, 600),
        Count(NOW - 1000, 45, 50),  # restarted in between
        Count(NOW, 95, 100),
    ]
    found = burn(GOAL, counts, NOW, HOUR)
    assert (found.total, found.bad) == (200, 15)


def test_a_window_that_was_not_watched_whole_says_so() -> None:
    found = burn(GOAL, [Count(NOW - 600, 0, 0), Count(NOW, 99, 100)], NOW, HOUR)
    assert (found.covered, found.window) == (600, HOUR)
    assert found.rate == pytest.approx(10)
    assert burn(GOAL, [], NOW, HOUR).rate is None
    assert burn(GOAL, [Count(NOW, 1, 1)], NOW, HOUR).covered == 0


def test_no_requests_burn_nothing() -> None:
    counts = [Count(NOW - 100, 5, 5), Count(NOW, 5, 5)]
    assert burn(GOAL, counts, NOW, HOUR).rate is None
    assert standing(GOAL, counts, NOW).left is None


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10)), min_size=1, max_size=20))
def test_windows_add_up(steps: list[tuple[int, int]]) -> None:
    counts, good, total = [Count(NOW - len(steps) * 60, 0, 0)], 0.0, 0.0
    for number, (fine, bad) in enumerate(steps, 1):
        good, total = good + fine, total + fine + bad
        counts.append(Count(NOW - (len(steps) - number) * 60, good, total))
    found = burn(GOAL, counts, NOW, DAY)
    assert found.total == total
    assert found.bad == pytest.approx(total - good)
    parts = [burn(GOAL, counts, count.time, 60) for count in counts[1:]]
    assert sum(part.bad for part in parts) == pytest.approx(found.bad)


def test_counts_of_a_reading() -> None:
    ttft = Histogram(10, 3, ((0.5, 6.0), (1.0, 9.0), (math.inf, 10.0)))
    metrics = EndpointMetrics(ttft=ttft, finished={"stop": 90, "error": 6}, rejected=4)
    assert count_of(Objective("t", "ttft", 0.9, 1.0), metrics, 5) == Count(5, 9, 10)
    assert count_of(GOAL, metrics, 5) == Count(5, 90, 100)
    assert count_of(Objective("t", "tpot", 0.9, 1.0), metrics, 5) is None
    assert count_of(GOAL, EndpointMetrics(), 5) is None


def test_objectives_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(
        '[[objective]]\nname = "fast"\nkind = "ttft"\ntarget = 0.99\nthreshold_s = 2\ndays = 28\n'
        '[[objective]]\nkind = "availability"\ntarget = 0.999\n'
    )
    first, second = read_objectives(path)
    assert first == Objective("fast", "ttft", 0.99, 2.0, 28.0)
    assert (second.name, second.days, second.budget) == ("availability", 30, pytest.approx(0.001))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "speed"\ntarget = 0.9', "needs a kind"),
        ('kind = "ttft"\ntarget = 99\nthreshold_s = 1', "between 0 and 1"),
        ('kind = "ttft"\ntarget = 0.9', "threshold_s"),
        ('kind = "ttft"\ntarget = 0.9\nthreshold_s = true', "threshold_s"),
        ('kind = "availability"\ntarget = 0.9\ndays = 0', "days"),
        ('kind = "availability"\ntarget = 0.9\ntreshold = 1', "unknown key: treshold"),
        ("kind = ", "can't be read"),
    ],
)
def test_a_wrong_objective_names_its_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(f"[[objective]]\n{text}\n")
    with pytest.raises(ConfigurationError, match=words):
        read_objectives(path)


def test_readings_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path, "http://a")
    assert history.read() == {}
    for hour in range(5):
        history.add(NOW + hour * HOUR, {"a": Count(NOW + hour * HOUR, hour, hour)})
    with history.path.open("ab") as file:
        file.write(b'{"time": 1, "cou')  # torn by a kill
    assert [count.total for count in history.read()["a"]] == [0, 1, 2, 3, 4]
    assert History(tmp_path, "http://b").read() == {}


def test_old_readings_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.measure.history.MAX_BYTES", 500)
    history = History(tmp_path, "http://a")
    for day in range(0, 80, 2):
        now = NOW + day * DAY
        history.add(now, {"a": Count(now, day, day)})
    kept = history.read()["a"]
    assert kept[-1].total == 78
    assert kept[0].time >= kept[-1].time - 35 * DAY
