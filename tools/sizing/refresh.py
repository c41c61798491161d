"""Prices read again from the Cloud Billing catalogue, put together SKU by SKU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from tools.config import CloudConfig
from tools.errors import CloudUnavailable, UsageError
from tools.google.billing import Sku, read_skus
from tools.sizing.prices import offers
from tools.sizing.tables import table
from tools.sizing.user_prices import SCHEMA, user_file, write_prices

_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
SOURCE = "Cloud Billing catalogue (cloudbilling.googleapis.com v1, services.skus.list)"


@dataclass(frozen=True)
class Changed:
    """One price: what it was, what it is, dollars an hour; ``before`` None: not known before."""

    name: str
    before: float | None
    after: float

    def __str__(self) -> str:
        """Return the price as a line."""
        if self.before is None:
            return f"{self.name}: {self.after:.4f} USD an hour (not known before)"
        share = (self.after / self.before - 1) * 100
        moved = f"{share:+.1f} %" if abs(share) >= 0.05 else "unchanged"
        return f"{self.name}: {self.after:.4f} USD an hour (was {self.before:.4f}, {moved})"


@dataclass(frozen=True)
class Refreshed:
    """What a refresh brought; ``file`` is None when nothing was kept."""

    read: date
    prices: tuple[Changed, ...]
    missing: tuple[str, ...]  # offers of which a SKU was not found, with the first such
    skus: int
    data: Mapping[str, Any]
    file: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the refresh as JSON has it."""
        return {
            "schema": 1,
            "read": self.read.isoformat(),
            "source": SOURCE,
            "file": str(self.file) if self.file else None,
            "prices": [
                {"name": one.name, "before": one.before, "usd_per_hour": round(one.after, 6)}
                for one in self.prices
            ],
            "missing": list(self.missing),
        }


async def refresh(
    config: CloudConfig, *, region: str = "", url: str = "", keep: bool = True
) -> Refreshed:
    """Read the catalogue and write what it says beside state.db, never into the package.

    ``region`` is priced beside those of the packaged table. ``url`` is a simulated catalogue on
    loopback; ``keep`` False writes nothing. Raises UsageError for a region that is none, a
    CloudError when the catalogue can't be read, and keeps the known prices then.
    """
    if region and not _REGION.fullmatch(region):
        raise UsageError(f"{region!r} is no region.", fix="Write it like us-central1.")
    rows = table("catalogue")
    wanted = _wanted()
    skus = [
        sku
        for service in rows["services"].values()
        for sku in await read_skus(config, service, wanted, url=url)
    ]
    if not skus:
        raise CloudUnavailable(
            "The catalogue has no SKU that is known here.",
            fix="Prices that are known stay in use.",
            api="cloudbilling",
        )
    today = config.now().date()
    prices: list[Changed] = []
    missing: list[str] = []
    found: list[dict[str, Any]] = []
    for row in rows["offer"]:
        places = dict(row["regions"]) | ({region: region} if region else {})
        for place, label in places.items():
            name = f"{row['accelerator']} {row['kind']}, {row['where']}, {place}"
            total, ids, lacking = _sum(row["parts"], skus, place)
            if lacking:
                # A region of the user's own that lacks an accelerator is no news.
                if place != region:
                    missing.append(f"{name}: no SKU {lacking!r}")
                continue
            prices.append(Changed(name, _before(row, place, label), total))
            found.append(
                {key: row[key] for key in ("accelerator", "kind", "where", "includes_machine")}
                | {
                    "region": place,
                    "replaces": label,
                    "usd_per_hour": round(total, 6),
                    "source": f"{SOURCE}: {' + '.join(ids)}",
                }
            )
    run = _cloud_run(rows["cloud_run"], skus, prices, missing)
    data = {
        "schema": SCHEMA,
        "read": today.isoformat(),
        "source": SOURCE,
        "offer": found,
        "cloud_run": run,
    }
    file = user_file() if keep else None
    if file is not None:
        write_prices(file, data)
    return Refreshed(today, tuple(prices), tuple(missing), len(skus), data, file)


def _cloud_run(
    rows: Mapping[str, Any], skus: list[Sku], prices: list[Changed], missing: list[str]
) -> dict[str, Any]:
    # The packaged rates are a second's, as Cloud Run's own page gives them.
    place = rows["region"]
    run: dict[str, Any] = {"region": place, "gpu": {}}
    packaged = table("prices")["cloud_run"]
    for key, name in (("vcpu", "usd_per_vcpu_second"), ("gib", "usd_per_gib_second")):
        sku = _find(rows[key], skus, place)
        if sku is None:
            missing.append(f"Cloud Run {key}, {place}: no SKU {rows[key][2]!r}")
            continue
        run[name] = sku.usd_per_hour / 3600
        prices.append(
            Changed(f"Cloud Run, one {key}, {place}", packaged[name] * 3600, sku.usd_per_hour)
        )
    for card, row in rows["gpu"].items():
        found = {}
        for key, name in (("single", "usd_per_second"), ("zonal", "usd_per_second_zonal")):
            sku = _find(row[key], skus, place)
            if sku is not None:
                found[name] = sku.usd_per_hour / 3600
        if "usd_per_second" not in found:
            missing.append(f"Cloud Run {card}, {place}: no SKU {row['single'][2]!r}")
            continue
        run["gpu"][card] = found
        before = packaged["gpu"][card]["usd_per_second"] * 3600
        name = f"Cloud Run, one {card}, {place}"
        prices.append(Changed(name, before, found["usd_per_second"] * 3600))
    return run


def _sum(
    parts: Iterable[tuple[str, str, str, float]], skus: list[Sku], place: str
) -> tuple[float, list[str], str]:
    total, ids = 0.0, []
    for service, usage, pattern, count in parts:
        sku = _find((service, usage, pattern), skus, place)
        if sku is None:
            return 0.0, [], pattern
        total += sku.usd_per_hour * count
        ids.append(f"{count:g} × {sku.id}" if count != 1 else sku.id)
    return total, ids, ""


def _find(part: tuple[str, str, str], skus: list[Sku], place: str) -> Sku | None:
    _, usage, pattern = part
    begins = _compiled(pattern)
    found = [
        sku
        for sku in skus
        if sku.usage == usage and place in sku.regions and begins.match(sku.description)
    ]
    # Of one thing sold twice the newest price holds.
    return max(found, key=lambda sku: (sku.effective or date.min, sku.id), default=None)


def _before(row: Mapping[str, Any], place: str, label: str) -> float | None:
    for offer in offers(row["accelerator"]):
        same = (offer.kind, offer.where) == (row["kind"], row["where"])
        if same and offer.region in {place, label}:
            return offer.usd_per_hour
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _wanted() -> Callable[[str], bool]:
    rows = table("catalogue")
    run = rows["cloud_run"]
    texts = {part[2] for row in rows["offer"] for part in row["parts"]}
    texts |= {run["vcpu"][2], run["gib"][2]}
    texts |= {part[2] for row in run["gpu"].values() for part in row.values()}
    any_of = re.compile("|".join(f"(?:{text})" for text in sorted(texts)), re.IGNORECASE)
    return lambda description: any_of.match(description) is not None
