"""What an accelerator costs, with where and when the figure was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from tools.sizing.tables import table
from tools.sizing.user_prices import COMMAND, UserPrices, user_prices


@dataclass(frozen=True)
class Offer:
    """One way to rent one accelerator; dollars an hour, machine included unless it says not."""

    accelerator: str
    kind: str  # on-demand | spot | flex-start | cloud-run
    where: str
    region: str
    usd_per_hour: float
    source: str
    day: date  # that the price held, as far as its source says
    includes_machine: bool = True
    scales_to_zero: bool = False

    def age(self, today: date) -> int:
        """Return the days since the price was known to hold."""
        return (today - self.day).days

    def stale(self, today: date) -> bool:
        """Return whether the price should be read again before it is relied on."""
        limit: int = table("prices")["stale_after_days"]
        return self.age(today) > limit


def offers(accelerator: str) -> tuple[Offer, ...]:
    """Return every known offer of an accelerator, on-demand first; refreshed prices win."""
    return _offers(accelerator, user_prices())


@cache
def _offers(accelerator: str, user: UserPrices) -> tuple[Offer, ...]:
    data = table("prices")
    fresh = [row for row in user.offers if row["accelerator"] == accelerator]
    known = [
        {"as_of": data["read"], **row} for row in data["offer"] if row["accelerator"] == accelerator
    ]
    replaced = {
        (row["kind"], row["where"], place)
        for row in fresh
        for place in (row["region"], row["replaces"])
    }
    rows = [
        *({**row, "as_of": user.read} for row in fresh),
        *(row for row in known if (row["kind"], row["where"], row["region"]) not in replaced),
    ]
    found = [
        Offer(
            accelerator=accelerator,
            kind=row["kind"],
            where=row["where"],
            region=row["region"],
            usd_per_hour=float(row["usd_per_hour"]),
            source=row["source"],
            day=row["as_of"],
            includes_machine=row["includes_machine"],
        )
        for row in rows
    ]
    run = data["cloud_run"]["gpu"].get(accelerator)
    if run:
        again = accelerator in user.cloud_run.get("gpu", {})
        found.append(
            Offer(
                accelerator=accelerator,
                kind="cloud-run",
                where=f"Cloud Run, {run['vcpu']} vCPU and {run['memory_gib']} GiB",
                region=", ".join(run["regions"]),
                usd_per_hour=round(cloud_run_usd_per_hour(accelerator), 4),
                source="Cloud Billing catalogue" if again else run["source"],
                day=(user.read if again else None) or data["cloud_run"]["read"],
                scales_to_zero=True,
            )
        )
    order = {"cloud-run": 0, "on-demand": 1, "flex-start": 2, "spot": 3}
    return tuple(sorted(found, key=lambda offer: order.get(offer.kind, len(order))))


def cloud_run_usd_per_hour(
    accelerator: str, *, vcpu: float = 0, memory_gib: float = 0, zonal: bool = False
) -> float:
    """Return what an instance costs an hour on Cloud Run: GPU, vCPU and memory.

    Raises KeyError for an accelerator that Cloud Run does not offer.
    """
    packaged, user = table("prices")["cloud_run"], user_prices().cloud_run
    gpu: dict[str, Any] = packaged["gpu"][accelerator] | user.get("gpu", {}).get(accelerator, {})
    run = {**packaged, **user}
    second: float = gpu["usd_per_second_zonal"] if zonal else gpu["usd_per_second"]
    second += run["usd_per_vcpu_second"] * (vcpu or gpu["vcpu"])
    second += run["usd_per_gib_second"] * (memory_gib or gpu["memory_gib"])
    return second * 3600


def usual(accelerator: str) -> Offer | None:
    """Return the offer that is meant when none is named, or None when no price is known."""
    known = offers(accelerator)
    return known[0] if known else None


def warnings(found: tuple[Offer, ...], today: date) -> tuple[str, ...]:
    """Return a sentence for each price that is too old, and the command that reads it again."""
    problem = user_prices().problem
    return (
        *((problem,) if problem else ()),
        *(
            f"The {offer.kind} price of {offer.accelerator} in {offer.region} is "
            f"{offer.age(today)} days old ({offer.day}): run `{COMMAND}`, which reads the Cloud "
            "Billing catalogue."
            for offer in found
            if offer.stale(today)
        ),
    )
