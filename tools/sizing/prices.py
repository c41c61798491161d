"""What an accelerator costs, with where and when the figure was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from tools.sizing.tables import table


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


@cache
def offers(accelerator: str) -> tuple[Offer, ...]:
    """Return every known offer of an accelerator, on-demand first."""
    data = table("prices")
    found = [
        Offer(
            accelerator=row["accelerator"],
            kind=row["kind"],
            where=row["where"],
            region=row["region"],
            usd_per_hour=row["usd_per_hour"],
            source=row["source"],
            day=row.get("as_of", data["read"]),
            includes_machine=row["includes_machine"],
        )
        for row in data["offer"]
        if row["accelerator"] == accelerator
    ]
    run = data["cloud_run"]["gpu"].get(accelerator)
    if run:
        found.append(
            Offer(
                accelerator=accelerator,
                kind="cloud-run",
                where=f"Cloud Run, {run['vcpu']} vCPU and {run['memory_gib']} GiB",
                region=", ".join(run["regions"]),
                usd_per_hour=round(cloud_run_usd_per_hour(accelerator), 4),
                source=run["source"],
                day=data["cloud_run"]["read"],
                scales_to_zero=True,
            )
        )
    order = {"cloud-run": 0, "on-demand": 1, "flex-start": 2, "spot": 3}
    return tuple(sorted(found, key=lambda offer: order[offer.kind]))


def cloud_run_usd_per_hour(
    accelerator: str, *, vcpu: float = 0, memory_gib: float = 0, zonal: bool = False
) -> float:
    """Return what an instance costs an hour on Cloud Run: GPU, vCPU and memory.

    Raises KeyError for an accelerator that Cloud Run does not offer.
    """
    run = table("prices")["cloud_run"]
    gpu: dict[str, Any] = run["gpu"][accelerator]
    second: float = gpu["usd_per_second_zonal"] if zonal else gpu["usd_per_second"]
    second += run["usd_per_vcpu_second"] * (vcpu or gpu["vcpu"])
    second += run["usd_per_gib_second"] * (memory_gib or gpu["memory_gib"])
    return second * 3600


def usual(accelerator: str) -> Offer | None:
    """Return the offer that is meant when none is named, or None when no price is known."""
    known = offers(accelerator)
    return known[0] if known else None


def warnings(found: tuple[Offer, ...], today: date) -> tuple[str, ...]:
    """Return a sentence for each price that is too old, and how to refresh it."""
    how = table("prices")["refresh"]
    return tuple(
        f"The {offer.kind} price of {offer.accelerator} in {offer.region} is {offer.age(today)} "
        f"days old ({offer.day}); read it again: {how}."
        for offer in found
        if offer.stale(today)
    )
