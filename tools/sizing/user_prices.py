"""Prices that were read again: a file of the user's own, beside state.db, over the packaged one."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from tools.errors import ConfigurationError

NAME = "prices.json"
SCHEMA = 1
COMMAND = "gemma-sre prices refresh"
_OFFER = {
    "accelerator": str, "kind": str, "where": str, "region": str, "usd_per_hour": float,
    "includes_machine": bool, "source": str, "replaces": str,
}  # fmt: skip


@dataclass(frozen=True, eq=False)  # hashed by identity: one instance for each refresh
class UserPrices:
    """What a refresh found; ``problem`` says why a file that is there is not used."""

    read: date | None = None
    offers: tuple[Mapping[str, Any], ...] = ()
    cloud_run: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def user_file() -> Path:
    """Return where refreshed prices lie: the folder of state.db."""
    return _folder(os.environ.get("GEMMA_SRE_STATE", "")) / NAME


def user_prices() -> UserPrices:
    """Return what the last refresh wrote; nothing when there was none."""
    path = user_file()
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return _NONE
    return _read(path, changed)


def write_prices(path: Path, data: Mapping[str, Any]) -> None:
    """Write the file whole or not at all.

    Raises ConfigurationError when the folder can't be written.
    """
    half = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        half.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            half.unlink()
        raise ConfigurationError(
            f"{path} can't be written: {error.strerror}.",
            fix="Name another folder with GEMMA_SRE_STATE.",
        ) from None


def parse(text: str) -> UserPrices:
    """Return a file's prices; raises ValueError for one that this program did not write."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    offers = data.get("offer", [])
    cloud_run = data.get("cloud_run", {})
    if not isinstance(offers, list) or not isinstance(cloud_run, dict):
        raise ValueError("it has no list of offers")
    for row in offers:
        if not isinstance(row, dict) or any(
            not isinstance(row.get(key), (int, float) if kind is float else kind)
            for key, kind in _OFFER.items()
        ):
            raise ValueError("an offer in it is not whole")
        _check(row["usd_per_hour"])
    for key in ("usd_per_vcpu_second", "usd_per_gib_second"):
        if key in cloud_run:
            _check(cloud_run[key])
    for row in cloud_run.get("gpu", {}).values():
        for price in row.values():
            _check(price)
    return UserPrices(date.fromisoformat(str(data["read"])), tuple(offers), cloud_run)


def _check(price: Any) -> None:
    if isinstance(price, bool) or not isinstance(price, int | float) or not price > 0:
        raise ValueError(f"{price!r} is no price")
    if not math.isfinite(price) or price > 100_000:
        raise ValueError(f"{price!r} is no price")


_NONE = UserPrices()


@cache
def _folder(state: str) -> Path:
    if state:
        return Path(state).expanduser().parent
    import platformdirs

    return platformdirs.user_state_path("gemma-sre")


@cache
def _read(path: Path, changed: int) -> UserPrices:
    del changed  # a part of the cache's key: another refresh is read again
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return UserPrices(
            problem=f"The refreshed prices in {path} are not used ({error}); run `{COMMAND}`."
        )
