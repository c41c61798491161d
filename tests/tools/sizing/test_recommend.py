"""Ranking, rejections with reasons, the front, and the rate."""

import time

import pytest

from tools.errors import UsageError
from tools.sizing.recommend import Workload, pareto, recommend


def test_every_combination_is_an_option_a_rejection_or_beaten():
    found = recommend(Workload(users=4, context=16384))
    assert found.options
    assert all(one.reason for one in found.rejections)
    assert len(found.options) + len(found.rejections) <= found.considered


def test_a_budget_puts_the_largest_model_first():
    found = recommend(Workload(users=2, context=8192, budget=3000))
    sizes = [one.result.plan.arch.total for one in found.options]
    assert sizes == sorted(sizes, reverse=True)
    assert all(one.usd_per_month <= 3000 for one in found.options)
    assert any("over the budget" in one.reason for one in found.rejections)


def test_without_one_the_cheapest_comes_first():
    found = recommend(Workload(users=1, context=4096))
    costs = [round(one.usd_per_month) for one in found.options]
    assert costs == sorted(costs)


def test_options_hold_the_users_and_the_wish():
    found = recommend(Workload(users=16, context=32768, tokens_per_s=15, images=True))
    assert found.options
    for one in found.options:
        assert one.result.capacity.concurrency >= 16
        assert one.tokens_per_s / 2 >= 15
        assert "--language-model-only" not in one.flags


def test_the_front_is_not_beaten():
    found = recommend(Workload(users=2, context=8192))
    for one in found.front:
        assert not any(
            other.usd_per_month < one.usd_per_month
            and other.tokens_per_s > one.tokens_per_s
            and other.result.plan.arch.total >= one.result.plan.arch.total
            for other in found.options
        )
    assert len(pareto(list(found.options))) == len(found.front)


def test_quota_and_region():
    found = recommend(Workload(quota={"L4": 0}, region="us-central1"))
    assert not any(one.result.plan.card.name == "L4" for one in found.options)
    assert any("the quota is 0 × L4" in one.reason for one in found.rejections)
    assert any("no offer is known in us-central1" in one.reason for one in found.rejections)


def test_tools_add_their_flags():
    flags = recommend(Workload(tools=True)).options[0].flags
    assert "--tool-call-parser=gemma4" in flags
    assert "--enable-auto-tool-choice" in flags


def test_the_31b_is_never_put_on_one_l4():
    found = recommend(Workload(context=2048, models=("31B",)))
    assert not any(
        one.result.plan.card.name == "L4" and one.result.plan.count == 1 for one in found.options
    )


def test_nothing_holds():
    found = recommend(Workload(users=50_000, context=262_144))
    assert found.options == ()
    assert "Nothing holds" in found.explanation[-1]


@pytest.mark.parametrize(
    "values",
    [{"users": 0}, {"context": 0}, {"budget": -1}, {"traffic": "never"}, {"models": ("9B",)},
     {"quota": {"L5": 1}}],
)  # fmt: skip
def test_refused(values):
    with pytest.raises(UsageError):
        recommend(Workload(**values))


def test_a_thousand_configurations_a_second():
    workload = Workload(users=3, context=12_345, tokens_per_s=2)
    started = time.process_time()
    found = recommend(workload)
    assert found.considered / (time.process_time() - started) > 1000
