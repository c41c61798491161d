"""Dollars, ceilings, and the price table."""

from datetime import date

import pytest

from tools.errors import UsageError
from tools.sizing.accelerators import accelerator_names
from tools.sizing.cost import CostRequest, cost, million_tokens
from tools.sizing.prices import cloud_run_usd_per_hour, offers, usual, warnings
from tools.sizing.request import FitRequest, resolve
from tools.sizing.speed import decode_ceiling, prefill_ceiling, step_bytes


def plan(model, card, precision="", *flags, count=0):
    return resolve(FitRequest(model, card, precision, flags=flags, count=count))


@pytest.mark.parametrize(
    ("model", "card", "count", "measured"),
    [
        ("E2B", "L4", 1, 46.09), ("31B", "MI300X", 1, 55.79), ("12B", "MI300X", 1, 126.33),
        ("26B-A4B", "MI300X", 1, 212.21), ("31B", "B300", 1, 64.5), ("E2B", "v6e", 4, 207.27),
    ],
)  # fmt: skip
def test_no_measurement_beats_a_ceiling(model, card, count, measured):
    assert measured < decode_ceiling(plan(model, card, "bf16", count=count)).tokens_per_s


def test_offload_crosses_pcie():
    slow = decode_ceiling(plan("31B", "L4", "w4a16", "--cpu-offload-gb", "14"))
    assert slow.bound == "PCIe"
    assert 1.6 < slow.tokens_per_s < 3  # measured: 0.8 to 1.6


def test_a_published_rate_that_physics_refuses():
    # 39 tokens/s were published for a 31B in 4 bits on an L4.
    assert decode_ceiling(plan("31B", "L4", "w4a16")).tokens_per_s < 17


def test_experts_are_read_once_a_step():
    arch, kind = plan("26B-A4B", "L4", "w4a16").arch, plan("26B-A4B", "L4", "w4a16").kind
    one, many = step_bytes(arch, kind, 1), step_bytes(arch, kind, 256)
    assert one < many < one * 6


def test_batching_and_compute():
    small, large = plan("31B", "H100", "fp8"), plan("31B", "H100", "fp8")
    assert decode_ceiling(large, batch=8).tokens_per_s > decode_ceiling(small).tokens_per_s * 7
    assert decode_ceiling(large, batch=4096).bound == "compute"
    assert prefill_ceiling(large).bound == "compute"


def test_cloud_run_adds_up():
    assert cloud_run_usd_per_hour("L4") == pytest.approx(1.42, abs=0.005)
    assert cloud_run_usd_per_hour("L4", vcpu=4, memory_gib=16) == pytest.approx(1.05, abs=0.005)
    assert million_tokens(1.42, 360) == pytest.approx(1.10, abs=0.01)


def test_duty_counts_only_where_it_scales_to_zero():
    found = cost(CostRequest(FitRequest("12B", "L4", "w4a16"), duty=0.25))
    by_kind = {one.offer.kind: one for one in found.offers}
    assert by_kind["cloud-run"].month == pytest.approx(by_kind["cloud-run"].month_always_on / 4)
    assert by_kind["on-demand"].month == by_kind["on-demand"].month_always_on


def test_a_rate_above_the_ceiling_is_doubted():
    found = cost(CostRequest(FitRequest("31B", "L4", "w4a16"), tokens_per_s=39))
    assert any("above the ceiling" in line for line in found.explanation)
    assert any("does not fit" in line for line in found.explanation)


def test_history_replaces_a_phase():
    history = {"loading weights": (41.0, 55.0)}
    found = cost(CostRequest(FitRequest("E2B", "L4"), history=history))
    phase = next(one for one in found.cold_start if one.name == "loading weights")
    assert phase.measured
    assert (phase.low, phase.high, phase.starts) == (41.0, 55.0, 2)
    assert not found.cold_start[0].measured


def test_old_prices_are_said():
    assert warnings(offers("v6e"), date(2026, 8, 8)) == ()
    late = warnings(offers("v6e"), date(2026, 12, 1))
    assert late
    assert "Cloud Billing" in late[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [({"duty": 0}, "duty"), ({"users": 0}, "users"), ({"tokens_per_s": -1}, "negative"),
     ({"kind": "spot"}, "No spot")],
)  # fmt: skip
def test_refused(values, said):
    with pytest.raises(UsageError, match=said):
        cost(CostRequest(FitRequest("E2B", "T4" if "kind" in values else "L4"), **values))


def test_every_offer_names_an_accelerator_and_its_source():
    found = [offer for name in accelerator_names() for offer in offers(name)]
    assert found
    assert all(offer.source and offer.usd_per_hour > 0 for offer in found)
    assert usual("MI300X") is None
