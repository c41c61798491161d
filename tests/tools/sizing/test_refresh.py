"""Prices from a simulated Cloud Billing catalogue: real requests, real paging, a file of one's own."""

import contextlib
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.config import CloudConfig, EndpointConfig
from tools.domain import Target
from tools.errors import (
    CloudUnavailable,
    ConfigurationError,
    PermissionMissing,
    QuotaExceeded,
    UsageError,
)
from tools.google.billing import sku_from
from tools.reads.prices import refresh_prices
from tools.simulator.billing_server import SimulatedBilling, packaged_rows
from tools.simulator.clock import SimulatedClock
from tools.sizing.prices import cloud_run_usd_per_hour, offers, usual, warnings
from tools.sizing.refresh import refresh
from tools.sizing.tables import table
from tools.sizing.user_prices import parse, user_file, user_prices
from tools.tool import ToolContext

NOW = datetime(2026, 12, 24, 9, tzinfo=UTC)


@pytest.fixture
def config():
    return CloudConfig(now=lambda: NOW)


@pytest.fixture
async def catalogue():
    async with SimulatedBilling(SimulatedClock(NOW, running=False)) as server:
        yield server


async def test_a_machine_is_summed_part_by_part(config, catalogue):
    packaged = table("prices")["offer"][0]["usd_per_hour"]
    found = await refresh(config, url=catalogue.url)
    offer = next(one for one in offers("L4") if one.kind == "on-demand")
    assert offer.usd_per_hour == pytest.approx(0.56004 + 8 * 0.024988 + 32 * 0.002927)
    assert offer.day == date(2026, 12, 24)
    assert "8 × F8A0-0000-0004" in offer.source
    first = found.prices[0]
    assert first.before == packaged
    assert "was 0.8500" in str(first)
    assert found.file == user_file()
    # Several pages, and nothing was taken from commitments, reservations or capacity classes.
    assert len(catalogue.calls) == sum(-(-len(rows) // 5) for rows in packaged_rows().values())
    v6e = {one.kind: one.usd_per_hour for one in offers("v6e") if one.region.startswith("us")}
    assert v6e == {"on-demand": 2.7, "flex-start": 1.35, "spot": 1.4033}


async def test_the_packaged_table_stays_and_what_is_missing_is_said(config, catalogue):
    before = json.dumps(table("prices"), default=str)
    found = await refresh(config, url=catalogue.url)
    assert json.dumps(table("prices"), default=str) == before
    assert any(name.startswith("H100 on-demand") for name in found.missing)
    assert next(one for one in offers("H100") if one.kind == "on-demand").usd_per_hour == 10.98
    # An accelerator without a packaged price gets one; its region's label is replaced, not doubled.
    assert usual("TPU7x").usd_per_hour == 12
    assert [one.region for one in offers("v5e")] == ["us-central1"]
    assert found.to_json()["file"]


async def test_cloud_run_by_the_second_behind_a_free_tier(config, catalogue):
    await refresh(config, url=catalogue.url)
    assert cloud_run_usd_per_hour("L4") == pytest.approx(
        (0.0001867 + 8 * 0.000018 + 32 * 0.000002) * 3600
    )
    assert usual("L4").day == date(2026, 12, 24)


async def test_a_region_of_ones_own(config, catalogue):
    found = await refresh(config, url=catalogue.url, region="us-east4")
    assert not [name for name in found.missing if name.startswith("L4 on-demand")]
    with pytest.raises(UsageError, match="no region"):
        await refresh(config, url=catalogue.url, region="mars")


async def test_an_old_price_names_the_command_and_a_new_one_does_not(config, catalogue):
    later = (NOW + timedelta(days=40)).date()
    (line,) = [one for one in warnings(offers("v5e"), later) if "v5e" in one]
    assert "gemma-sre prices refresh" in line
    assert "days old" in line
    await refresh(config, url=catalogue.url)
    assert warnings(offers("v5e"), later) == ()


@pytest.mark.parametrize(
    ("status", "reason", "kind", "said"),
    [
        (403, "SERVICE_DISABLED", PermissionMissing, "gcloud services enable cloudbilling"),
        (403, "", PermissionMissing, "refused access"),
        (429, "", QuotaExceeded, "minute"),
        (503, "", CloudUnavailable, "503"),
    ],
)
async def test_a_refusal_keeps_what_is_known(config, catalogue, status, reason, kind, said):
    catalogue.refuse(status, "no", reason)
    with pytest.raises(kind, match=said):
        await refresh(config, url=catalogue.url)
    assert not user_file().exists()


async def test_only_loopback_is_simulated(config):
    for url in ("https://example.com", "http://example.com", "https://127.0.0.1:1"):
        with pytest.raises(ConfigurationError, match="loopback"):
            await refresh(config, url=url)
    with pytest.raises(CloudUnavailable, match="gave no answer"):
        await refresh(config, url="http://127.0.0.1:9")
    simulated = CloudConfig(loopback="127.0.0.1:1")
    context = ToolContext(Target("cloud-run"), simulated, EndpointConfig())
    with pytest.raises(ConfigurationError, match="simulated"):
        await refresh_prices.run(context)


async def test_a_catalogue_without_a_known_sku(config):
    clock = SimulatedClock(NOW, running=False)
    rows = {name: [] for name in packaged_rows()}
    async with SimulatedBilling(clock, rows) as server:
        with pytest.raises(CloudUnavailable, match="no SKU"):
            await refresh(config, url=server.url)


async def test_a_damaged_file_is_not_used_and_said(config, catalogue):
    known = usual("L4").usd_per_hour
    for text in ("{", "[]", '{"schema": 9}', '{"schema": 1, "read": "x"}', _file(-1), _file("a")):
        user_file().write_text(text)
        assert user_prices().problem
        assert usual("L4").usd_per_hour == known
        assert "prices refresh" in warnings((), date(2026, 11, 22))[0]
    await refresh(config, url=catalogue.url)
    assert not user_prices().problem


async def test_a_folder_that_is_none(config, catalogue, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEMMA_SRE_STATE", str(tmp_path / "file" / "state.db"))
    with pytest.raises(ConfigurationError, match="can't be written"):
        await refresh(config, url=catalogue.url)


def _file(price):
    offer = {
        "accelerator": "L4", "kind": "spot", "where": "x", "region": "r", "usd_per_hour": price,
        "includes_machine": True, "source": "s", "replaces": "r",
    }  # fmt: skip
    return json.dumps({"schema": 1, "read": "2026-11-21", "offer": [offer]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["skuId", "category", "pricingInfo", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["skuId", "category", "pricingInfo"]), JSON))
def test_any_json_is_a_sku_or_none(value):
    assert sku_from(value) is None


@given(st.text(max_size=40))
def test_any_text_is_prices_or_a_value_error(text):
    with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
        parse(text)
