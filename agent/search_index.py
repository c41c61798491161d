"""The words of incidents: an FTS5 index over normalised tokens, and how rare each token is.

Queries are tokenised by the same code as the texts and each token is quoted, so that no part of
a query is ever FTS5 syntax.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from agent.database import Row, StateFile

# Raised when ``tokens`` changes: what was indexed by an older version is indexed again.
INDEX_VERSION = 1
# bm25 reads every match, so words are taken, the rarest first, until they match this many texts.
MAX_MATCHES = 400
# Of the words that are more common: how many are looked for, three and then two at once, until
# there are enough texts. The best by bm25 are then ranked by all words of the query.
COMMON = 4
ENOUGH = 20
CANDIDATES = 120
MAX_BODY_TOKENS = 240
MAX_QUERY_TOKENS = 40
TITLE_BONUS = 0.5

_BEST = (
    "SELECT rowid AS number, title, body FROM incident_words WHERE incident_words MATCH ?"
    " ORDER BY rank LIMIT ?"
)
_NEWEST = (
    "SELECT rowid AS number, title, body FROM incident_words WHERE incident_words MATCH ?"
    " ORDER BY rowid DESC LIMIT ?"
)
_INCIDENT_OF = (
    "SELECT coalesce(nullif(t.incident, ''), (SELECT id FROM incidents"
    " WHERE fingerprint = t.fingerprint ORDER BY last_seen DESC LIMIT 1)) AS incident"
    " FROM incident_texts t WHERE t.number = ?"
)
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after again an and any are as at be been before but by can could did do does
        down for from get got had has have here how i if in into is it its just keep last me
        my no not now of on or our out over said say so still than that the their them then
        there these they this time to too up us was we were what when where which while who
        why will with you your""",
    )
)


@dataclass(frozen=True, slots=True)
class Hit:
    """An incident found by words; ``score`` is the share of the query's weight it holds, 0 to 1."""

    incident: str
    score: float


def tokens(text: str, limit: int = 10_000) -> list[str]:
    """Return the distinct words of a text, normalised, in order of first appearance.

    Case and accents are folded, ``OutOfMemoryError`` also counts as its parts, English endings
    are cut so that "failed" finds "failing", and numbers longer than six digits are dropped:
    they are process ids, times and the like.
    """
    found: dict[str, None] = {}
    folded = unicodedata.normalize("NFKD", text[:200_000])
    for word in _WORD.findall("".join(c for c in folded if not unicodedata.combining(c))):
        parts = _CAMEL.findall(word) if not (word.islower() or word.isdigit()) else []
        for piece in (word, *(parts if len(parts) > 1 else ())):
            plain = piece.casefold()
            token = "" if plain in _STOP else _stem(plain)
            if 1 < len(token) <= 40 and not (token.isdigit() and len(token) > 6):
                found[token] = None
        if len(found) >= limit:
            break
    return list(found)[:limit]


def _stem(word: str) -> str:
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    if word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


class SearchIndex:
    """The words of all incidents in one state.db; writes happen inside its transactions.

    There is one text for each fingerprint, however often it came back, and one more for each
    incident that a person wrote a note or a resolution on.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def stale(self, limit: int) -> list[str]:
        """Return fingerprints that are not indexed, or by an older version of ``tokens``."""
        sql = "SELECT DISTINCT fingerprint FROM incident_texts WHERE version < ? LIMIT ?"
        return [row["fingerprint"] for row in self._file.rows(sql, INDEX_VERSION, limit)]

    def has(self, fingerprint: str) -> bool:
        """Return whether the fingerprint's text is there and current."""
        sql = (
            "SELECT 1 FROM incident_texts WHERE fingerprint = ? AND incident = '' AND version >= ?"
        )
        return bool(self._file.rows(sql, fingerprint, INDEX_VERSION))

    def put(self, fingerprint: str, incident: str, head: str, body: str) -> None:
        """Index a text, replacing what was there; ``incident`` is empty for the fingerprint's."""
        number = self._number(fingerprint, incident)
        before = self._stored(number)
        title = tokens(head)
        rest = [token for token in tokens(body, MAX_BODY_TOKENS) if token not in title]
        after = {*title, *rest}
        if before is not None:
            self._file.execute("DELETE FROM incident_words WHERE rowid = ?", number)
        self._file.execute(
            "INSERT INTO incident_words (rowid, title, body) VALUES (?, ?, ?)",
            number,
            " ".join(title),
            " ".join(rest),
        )
        self._count(after - (before or set()), 1)
        self._count((before or set()) - after, -1)
        self._file.execute(
            "UPDATE incident_texts SET version = ? WHERE number = ?", INDEX_VERSION, number
        )

    def remove(self, fingerprint: str, incident: str) -> None:
        """Forget a text."""
        number = self._number(fingerprint, incident)
        self._count(self._stored(number) or (), -1)
        self._file.execute("DELETE FROM incident_words WHERE rowid = ?", number)
        self._file.execute("DELETE FROM incident_texts WHERE number = ?", number)

    def drop_stale(self, fingerprint: str) -> None:
        """Forget texts of a fingerprint that nothing has brought up to date: nobody owns them."""
        sql = "SELECT incident FROM incident_texts WHERE fingerprint = ? AND version < ?"
        for row in self._file.rows(sql, fingerprint, INDEX_VERSION):
            self.remove(fingerprint, row["incident"])

    def find(self, text: str, limit: int) -> list[Hit]:
        """Return the incidents whose words answer ``text`` best, the newest first of equals."""
        words = tokens(text, MAX_QUERY_TOKENS)
        known = self._file.rows(
            "SELECT term, documents FROM search_terms WHERE documents > 0"
            " AND term IN (SELECT value FROM json_each(?)) ORDER BY documents, term",
            json.dumps(words),
        )
        if not known:
            return []
        total = self._file.rows("SELECT count(*) AS n FROM incident_texts")[0]["n"]
        weights = {row["term"]: math.log(1 + total / row["documents"]) for row in known}
        # A word that no incident holds weighs most, and nothing can hold it.
        whole = sum(weights.values()) + (len(words) - len(known)) * math.log(1 + 2 * total)
        found = [
            (self._score(row["title"], row["body"], weights) / whole, row["number"])
            for row in self._candidates([(r["term"], r["documents"]) for r in known], total)
        ]
        best = sorted(found, reverse=True)[:limit]
        return [Hit(self._incident(number), min(score, 1.0)) for score, number in best]

    def _candidates(self, known: Sequence[tuple[str, int]], total: int) -> list[Row]:
        """Return texts worth a score: those with a rare word, and with common ones in company."""
        terms = [_quoted(term) for term, _ in known]
        rare, matches = 0, 0
        for _, documents in known:
            if matches + documents > MAX_MATCHES:
                break
            rare, matches = rare + 1, matches + documents
        rows = self._match(" OR ".join(terms[:rare]), _BEST) if rare else []
        found = {row["number"]: row for row in rows}
        for size in (3, 2):
            together = _in_company(known[rare : rare + COMMON], size, total)
            if together and len(found) < ENOUGH:
                rows = self._match(" OR ".join(together), _BEST)
                found.update((row["number"], row) for row in rows)
        return list(found.values()) or self._match(terms[0], _NEWEST)

    def _match(self, expression: str, order: str) -> list[Row]:
        return self._file.rows(order, expression, CANDIDATES)

    @staticmethod
    def _score(title: str, body: str, weights: dict[str, float]) -> float:
        head, rest = f" {title} ", f" {body} "
        score = 0.0
        for term, weight in weights.items():
            word = f" {term} "
            if word in head:
                score += weight * (1 + TITLE_BONUS)
            elif word in rest:
                score += weight
        return score / (1 + TITLE_BONUS)

    def _number(self, fingerprint: str, incident: str) -> int:
        sql = "SELECT number FROM incident_texts WHERE fingerprint = ? AND incident = ?"
        found = self._file.rows(sql, fingerprint, incident)
        if not found:
            self._file.execute(
                "INSERT INTO incident_texts (fingerprint, incident, version) VALUES (?, ?, 0)",
                fingerprint,
                incident,
            )
            found = self._file.rows(sql, fingerprint, incident)
        return int(found[0]["number"])

    def _incident(self, number: int) -> str:
        return str(self._file.rows(_INCIDENT_OF, number)[0]["incident"])

    def _stored(self, number: int) -> set[str] | None:
        sql = "SELECT title, body FROM incident_words WHERE rowid = ?"
        found = self._file.rows(sql, number)
        return {*found[0]["title"].split(), *found[0]["body"].split()} if found else None

    def _count(self, terms: Iterable[str], change: int) -> None:
        self._file.db.conn.executemany(
            "INSERT INTO search_terms (term, documents) VALUES (?, max(?, 0)) ON CONFLICT (term)"
            " DO UPDATE SET documents = documents + ?",
            [(term, change, change) for term in sorted(terms)],
        )


def _in_company(words: Sequence[tuple[str, int]], size: int, total: int) -> list[str]:
    """Return conjunctions of ``size`` words, those of which few matches are expected."""
    sized = [
        (total * math.prod(documents / total for _, documents in group), group)
        for group in combinations(words, size)
    ]
    chosen: list[str] = []
    matches = 0.0
    for expected, group in sorted(sized):
        matches += expected
        if chosen and matches > MAX_MATCHES:
            break
        chosen.append("(" + " AND ".join(_quoted(term) for term, _ in group) + ")")
    return chosen


def _quoted(token: str) -> str:
    return '"' + token.replace('"', '""') + '"'
