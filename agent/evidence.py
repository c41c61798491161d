"""Evidence: each fact that a report rests on gets one id, one reference and one verbatim quote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tools.domain import Observation, Origin, Scalar

# A quote longer than this is cut in the report; the whole text stays with its source.
QUOTE_LIMIT = 700


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence as the report shows it; ``quote`` is a part of a canonical text.

    ``text`` is that text where the quote was cut, and ``facts`` are what code made of it.
    """

    id: str
    source: str
    ref: str
    quote: str
    time: datetime | None = None
    origin: Origin = Origin.PROCESS
    text: str = ""
    facts: Mapping[str, Scalar] = field(default_factory=dict)

    def to_json(self) -> dict[str, str | None]:
        """Return the five fields of the report's contract."""
        return {
            "id": self.id,
            "source": self.source,
            "ref": self.ref,
            "time": iso(self.time),
            "quote": self.quote,
        }


@dataclass(slots=True)
class EvidenceList:
    """Evidence in the order in which it was cited; the same source and quote is one entry."""

    items: list[Evidence] = field(default_factory=list)

    def cite(
        self,
        source: str,
        ref: str,
        quote: str,
        time: datetime | None,
        origin: Origin,
        facts: Mapping[str, Scalar] | None = None,
    ) -> str | None:
        """Add a quote, or find it again and add the facts to it; return its id.

        Caller-controlled text, and what has no source to point at, is refused.
        """
        if origin is Origin.CALLER or not quote.strip() or not ref:
            return None
        text = quote if len(quote) <= QUOTE_LIMIT else quote[:QUOTE_LIMIT]
        known = dict(facts or {})
        for index, item in enumerate(self.items):
            if (item.source, item.ref, item.quote) == (source, ref, text):
                if known:
                    self.items[index] = replace(item, facts={**item.facts, **known})
                return item.id
        name, whole = f"E{len(self.items) + 1}", quote if text != quote else ""
        self.items.append(Evidence(name, source, ref, text, time, origin, whole, known))
        return name

    def observe(self, observation: Observation) -> str | None:
        """Cite an observation."""
        return self.cite(
            observation.source,
            observation.ref,
            observation.quote,
            observation.time,
            observation.origin,
            observation.facts,
        )

    def observe_all(self, observations: Iterable[Observation]) -> list[str]:
        """Cite several observations; return the ids of those that may stand."""
        return [found for found in map(self.observe, observations) if found]


def iso(time: datetime | None) -> str | None:
    """Return a time as the report writes it, to the microsecond and in UTC."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")
