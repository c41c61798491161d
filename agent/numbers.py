"""Measurements in prose, and whether they stand in the evidence.

A number is a measurement unless it is part of a name (``gemma-4-12b``, ``L4``), a version, an
ordinal, the number of a list, or a date. ``9.0 GiB`` and ``9 GiB`` are the same; ``9 GB`` is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tools.domain import Scalar

_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "twenty": 20, "thirty": 30,
    "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90, "hundred": 100, "thousand": 1000,
}  # fmt: skip
# Spelling → unit. Prefixes of 1000 and of 1024 are different units (tools/domain.py).
_UNITS = {
    "%": "%", "percent": "%", "per cent": "%",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms",
    "millisecond": "ms", "milliseconds": "ms", "us": "us", "µs": "us", "min": "min", "mins": "min",
    "minute": "min", "minutes": "min", "h": "h", "hour": "h", "hours": "h", "hrs": "h",
    "d": "d", "day": "d", "days": "d",
    "b": "B", "byte": "B", "bytes": "B", "kib": "KiB", "mib": "MiB", "gib": "GiB", "tib": "TiB",
    "kb": "kB", "mb": "MB", "gb": "GB", "tb": "TB", "gigabytes": "GB", "megabytes": "MB",
    "token": "tokens", "tokens": "tokens", "request": "requests", "requests": "requests",
    "reqs": "requests", "x": "x", "times": "x", "tokens/s": "tokens/s", "usd": "USD", "$": "USD",
}  # fmt: skip
_UNIT = r"(?:per cent|tokens/s|[A-Za-zµ%]+)"
_NUMBER = re.compile(
    rf"(?<![\w⟨])(?<![\d][.,:/-])([-+]?\$?\d[\d,]*(?:\.\d+)?)(?:[ \u00a0]?({_UNIT}))?"
)
_SPELLED = re.compile(rf"\b({'|'.join(_WORDS)})[ -]({_UNIT})", re.IGNORECASE)
# What is looked at before numbers are looked for: none of it is a measurement.
_EXEMPT = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?"  # dates
    r"|\b[A-Za-z_]+[\w.+/@:-]*\d[\w.+/@:-]*"  # names that hold digits: L4, gemma-4-12b, E1
    r"|\b\d+[A-Za-z_-][\w./-]*[A-Za-z_][\w./-]*"  # and that begin with them: 00011-2nn
    r"|\bv?\d+\.\d+\.\d+[\w.+-]*"  # versions
    r"|\b(?:vllm|python|cuda|pytorch|torch|transformers|gemma|llama|driver|version|release|v)"
    r"[ -]v?\d+(?:\.\d+)*\b"
    r"|\b\d+(?:st|nd|rd|th)\b"
    r"|\b(?:steps?|options?|points?|items?|parts?|causes?|hypothes[ei]s|phases?|figures?"
    r"|tables?|no\.|"
    r"numbers?|chapters?|level|tier|#)[ ]?\d+(?:(?:, | and | to |-)\d+)*\b"
    r"|(?:^|\s)\(?\d{1,2}[.)](?=\s)"  # numbers of a list inside a line
    r"|\b\d+(?:\.\d+)*\+",
    re.IGNORECASE,
)
# Of a name only its digits count as said when the name is a measured size with its unit behind.
_SIZE = re.compile(r"^[-+]?\d[\d,]*(?:\.\d+)?(?:[kmgt]i?b|ms|s|min|h|%|x|us|µs)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its unit, "" when it has none; ``shown`` is as it was written."""

    value: Decimal
    unit: str
    shown: str


def measurements(prose: str) -> list[Measurement]:
    """Return the measurements of a sentence, exempt numbers left out."""
    bare = _EXEMPT.sub(lambda m: m.group() if _SIZE.match(m.group()) else " ", prose)
    found = list(_numbers(bare))
    for match in _SPELLED.finditer(bare):
        unit = _UNITS.get(match.group(2).lower(), "")
        if unit:
            found.append(
                Measurement(Decimal(_WORDS[match.group(1).lower()]), unit, match.group().strip())
            )
    return found


def quoted_numbers(text: str) -> frozenset[tuple[Decimal, str]]:
    """Return every number that stands on its own in a text, with its unit."""
    return frozenset((number.value, number.unit) for number in _numbers(text))


def fact_numbers(facts: Mapping[str, Scalar]) -> frozenset[tuple[Decimal, str]]:
    """Return the numbers of named facts; a share (0 to 1) also stands as per cent.

    The unit is what the fact's name ends with: ``_s`` seconds, ``_gib`` GiB.
    """
    found: set[tuple[Decimal, str]] = set()
    for name, value in facts.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, str):
            found |= quoted_numbers(value)
            continue
        number = Decimal(str(value))
        found.add((number, _UNITS.get(name.rpartition("_")[2], "")))
        if isinstance(value, float) and 0 <= value <= 1:
            found.add((number * 100, "%"))
        if name.endswith("percent"):
            found.add((number, "%"))
    return frozenset(found)


def stands(said: Measurement, known: Iterable[tuple[Decimal, str]]) -> bool:
    """Say whether a measurement is one of the known numbers: its value, and no other unit."""
    return any(
        value == said.value and (not said.unit or not unit or unit == said.unit)
        for value, unit in known
    )


def _numbers(text: str) -> Iterable[Measurement]:
    for match in _NUMBER.finditer(text):
        digits = match.group(1).replace(",", "")
        unit = _UNITS.get((match.group(2) or "").lower(), "")
        if "$" in digits:
            digits, unit = digits.replace("$", ""), "USD"
        try:
            value = Decimal(digits)
        except InvalidOperation:
            continue
        shown = match.group() if unit else match.group(1).rstrip(",")
        yield Measurement(value, unit, shown.strip())
