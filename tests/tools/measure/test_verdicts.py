from __future__ import annotations

from dataclasses import fields

from tools.measure.verdicts import Verdict, Watch, thresholds
from tools.measure.windows import MetricsWindow


def states(verdicts: tuple[Verdict, ...]) -> dict[str, str]:
    return {one.id: one.state for one in verdicts}


def test_every_threshold_names_a_figure_and_its_source() -> None:
    names = {one.name for one in fields(MetricsWindow)}
    rules = thresholds()
    assert len({rule.id for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.figure in names
        assert rule.source
        assert rule.says
        assert (rule.above is None) + (rule.below is None) == (2 if rule.objective else 1)


def test_at_once_or_after_a_while() -> None:
    watch = Watch()
    found = states(watch.judge(MetricsWindow(10, kv_usage=0.86, waiting=2)))
    assert (found["kv-full"], found["queue"]) == ("found", "not yet")
    assert states(watch.judge(MetricsWindow(20, waiting=1)))["queue"] == "not yet"
    assert states(watch.judge(MetricsWindow(10, waiting=1)))["queue"] == "found"
    assert states(watch.judge(MetricsWindow(10, waiting=0)))["queue"] == "ok"
    assert states(watch.judge(MetricsWindow(10, waiting=5)))["queue"] == "not yet"


def test_the_bound_itself_is_kept() -> None:
    found = states(Watch().judge(MetricsWindow(1, kv_usage=0.85, preemptions=0, error_ratio=0.01)))
    assert {found[name] for name in ("kv-full", "preemptions", "errors")} == {"ok"}


def test_what_the_server_does_not_tell_is_unknown() -> None:
    found = states(Watch().judge(MetricsWindow(1)))
    assert set(found.values()) == {"unknown"}
    assert "ttft" not in found  # no objective, no verdict


def test_an_objective_gives_the_bound() -> None:
    watch = Watch(objectives={"ttft": 0.5})
    assert states(watch.judge(MetricsWindow(1, ttft_p95=0.6)))["ttft"] == "found"
    assert states(watch.judge(MetricsWindow(1, ttft_p95=0.4)))["ttft"] == "ok"


def test_low_ratios() -> None:
    found = states(Watch().judge(MetricsWindow(1, acceptance_rate=0.2, prefix_hit_rate=0.5)))
    assert (found["speculation"], found["prefix-cache"]) == ("found", "ok")
