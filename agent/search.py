"""Finding earlier incidents: by exact signature, then coarse, then by the rarest words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from agent.database import Row, StateFile
from agent.search_index import SearchIndex
from agent.signature import cause_keys, fingerprint_of

# exact: the same causes; cause: shares one; family: same component and exception type; words.
Match = Literal["exact", "cause", "family", "words"]

# Words alone must hold this share of the query's weight before a diagnosis calls it similar.
SIMILAR_SHARE = 0.5
_READ = (
    "SELECT id, fingerprint, status, service, verdict, title, opened, last_seen, count, causes,"
    " resolution FROM incidents WHERE id IN (SELECT value FROM json_each(?))"
)
_BY_KEY = {
    "cause": "SELECT incident FROM incident_causes WHERE cause = ? ORDER BY last_seen DESC LIMIT ?",
    "component": "SELECT incident FROM incident_causes WHERE component = ?"
    " ORDER BY last_seen DESC LIMIT ?",
    "exception": "SELECT incident FROM incident_causes WHERE exception = ?"
    " ORDER BY last_seen DESC LIMIT ?",
}


class IncidentSearch:
    """Search over the incidents of one state.db; it only reads."""

    def __init__(self, file: StateFile, index: SearchIndex) -> None:
        self._file = file
        self._index = index

    def exact(self, fingerprint: str, service: str, limit: int) -> list[str]:
        """Return ids with this fingerprint, those of the same service first, then the newest."""
        own = self._ids(
            "SELECT id FROM incidents WHERE fingerprint = ? AND service = ?"
            " ORDER BY last_seen DESC LIMIT ?",
            fingerprint,
            service,
            limit,
        )
        others = self._ids(
            "SELECT id FROM incidents WHERE fingerprint = ? ORDER BY last_seen DESC LIMIT ?",
            fingerprint,
            limit * 2,
        )
        return list(islice(dict.fromkeys((*own, *others)), limit))

    def similar(self, report: Mapping[str, Any], limit: int) -> list[Row]:
        """Return incidents like the one that a report describes, the likest first."""
        if not report["causes"]:
            return []
        service = str(report["target"].get("service", ""))
        return self._take(self._like(report, service, limit), limit)

    def search(self, text: str, limit: int) -> list[Row]:
        """Return incidents for a person's words: an id, a fingerprint, a cause, or any text."""
        return self._take(self._named_or_worded(text.strip(), limit), limit)

    def _like(
        self, report: Mapping[str, Any], service: str, limit: int
    ) -> Iterator[tuple[str, Match]]:
        for found in self.exact(fingerprint_of(report), service, limit):
            yield found, "exact"
        keys = cause_keys(report)
        for key in keys:
            for found in self._by("cause", key.cause, limit):
                yield found, "cause"
        for key in keys:
            if key.component and key.exception:
                for found in self._ids(
                    "SELECT incident FROM incident_causes WHERE component = ? AND exception = ?"
                    " ORDER BY last_seen DESC LIMIT ?",
                    key.component,
                    key.exception,
                    limit,
                ):
                    yield found, "family"
        for cause in report["causes"]:
            for hit in self._index.find(str(cause["title"]), limit):
                if hit.score >= SIMILAR_SHARE:
                    yield hit.incident, "words"

    def _named_or_worded(self, text: str, limit: int) -> Iterator[tuple[str, Match]]:
        if not text:
            return
        for found in self._ids("SELECT id FROM incidents WHERE id = ?", text):
            yield found, "exact"
        for found in self.exact(text, "", limit):
            yield found, "exact"
        for found in self._by("cause", text, limit):
            yield found, "cause"
        for column in ("exception", "component"):
            for found in self._by(column, text.rpartition(".")[2], limit):
                yield found, "family"
        for found in self._ids(
            "SELECT id FROM incidents WHERE service = ? ORDER BY last_seen DESC LIMIT ?",
            text,
            limit,
        ):
            yield found, "family"
        for hit in self._varied(text, limit):
            yield hit, "words"

    def _varied(self, text: str, limit: int) -> Iterator[str]:
        # One failure that came back a hundred times must not hide the others.
        hits = [hit.incident for hit in self._index.find(text, limit * 4)]
        prints = {row["id"]: row["fingerprint"] for row in self._read(hits)}
        first = {prints[hit]: hit for hit in reversed(hits)}
        yield from (hit for hit in hits if first[prints[hit]] == hit)
        yield from (hit for hit in hits if first[prints[hit]] != hit)

    def _by(self, column: str, value: str, limit: int) -> list[str]:
        return self._ids(_BY_KEY[column], value, limit)

    def _take(self, found: Iterable[tuple[str, Match]], limit: int) -> list[Row]:
        best: dict[str, Match] = {}
        for incident, match in found:
            best.setdefault(incident, match)
            if len(best) >= limit:
                break
        rows = {row["id"]: row for row in self._read(best)}
        return [{**rows[incident], "match": match} for incident, match in best.items()]

    def _read(self, ids: Iterable[str]) -> list[Row]:
        return self._file.rows(_READ, json.dumps(list(ids)))

    def _ids(self, sql: str, *values: Any) -> list[str]:
        return [str(next(iter(row.values()))) for row in self._file.rows(sql, *values)]
