"""The case of a failure in log files: read once, in memory that does not grow with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runbooks.catalog import Catalog
from runbooks.draft_case import DraftCase, EvidenceIds, values_of
from runbooks.draft_signature import Spoken
from runbooks.match import Match, Matcher
from runbooks.rule import On
from tools.domain import Block, Failure, Launch, LogRecord, Origin, Scalar, Severity
from tools.errors import UsageError
from tools.logs.digest import LogDigest, digest_of
from tools.logs.ordering import order_of
from tools.logs.root_cause import fingerprint, root_exception
from tools.logs.sources import read_logs
from tools.logs.suspects import suspected_options
from tools.logs.traceback_rules import is_plumbing

MAX_HEARD = 5_000  # distinct texts kept to try a signature on, digits aside
MAX_TEXT = 4_096
_DIGITS = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")
_PLATFORMS = {
    "cloud_run_revision": "cloud-run",
    "tpu_worker": "tpu",
    "gce_instance": "gce",
    "k8s_container": "gke",
    "aiplatform.googleapis.com/Endpoint": "vertex",
}


class Heard:
    """Distinct texts of a log with the place of their first print, and where each failure began."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[float, str]] = {}
        self._failures: dict[str, float] = {}
        self.errors: list[Block] = []
        self.platform = ""

    def add(self, block: Block) -> None:
        """Take the next block."""
        order = order_of(block.first)
        self.platform = self.platform or _PLATFORMS.get(block.first.resource, "")
        root = root_exception(block) if block.exceptions else None
        if root is not None:
            name = fingerprint(root)
            self._failures[name] = min(order, self._failures.get(name, order))
        elif block.first.origin is not Origin.CALLER and block.severity >= Severity.ERROR:
            self.errors = [*self.errors[-199:], block]
        text = block.text[:MAX_TEXT]
        key = _DIGITS.sub("0", text)
        known = self._texts.get(key)
        if (known is None and len(self._texts) < MAX_HEARD) or (known and order < known[0]):
            self._texts[key] = (order, text)

    def before(self, order: float) -> tuple[str, ...]:
        """Return the texts first printed before a place in the log."""
        return tuple(text for at, text in self._texts.values() if at < order)

    def began(self, failure: Failure) -> float:
        """Return where a kind of failure was first printed, in any instance."""
        return self._failures.get(failure.fingerprint, order_of(failure.record))


def case_from_logs(paths: Sequence[str], catalog: Catalog) -> DraftCase:
    """Return the case of the newest failure that no runbook of the catalog recognises.

    Without an exception it is the last error that was printed. Raises UsageError for files that
    can't be read or in which nothing failed.
    """
    heard = Heard()
    matcher = Matcher(catalog)

    def take(block: Block) -> None:
        matcher.add(block)
        heard.add(block)

    source = read_logs(paths)
    digest = digest_of(source, take)
    launch = digest.launches[-1] if digest.launches else None
    matches = matcher.finish(digest.observations(), launch)
    names = ", ".join("standard input" if p == "-" else Path(p).name for p in source.paths)
    told = f"the log {names}: {digest.total} entries"
    if digest.first and digest.last:
        told += f", {digest.first:%Y-%m-%d %H:%M:%S} to {digest.last:%H:%M:%S} UTC"
    failure = _unknown(digest.failures, matches)
    if failure is not None:
        return _of_failure(failure, digest, matches, heard, told)
    block = next(
        (
            b
            for b in reversed(heard.errors)
            if not any(b is q.block for m in matches for q in m.quotes)
        ),
        None,
    )
    if block is None:
        known = next((match for match in matches if match.kind == "cause"), None)
        raise UsageError(
            f"All that failed in {names} is known: {known.runbook.id}."
            if known
            else f"Nothing failed in {names}: it holds neither an exception nor an unknown error.",
            fix="`gemma-sre diagnose --logs FILE` shows what is recognised.",
        )
    return _of_error(block, digest, matches, heard, told, launch)


def _unknown(failures: Sequence[Failure], matches: Sequence[Match]) -> Failure | None:
    """Return the first failure that no cause explains, or the first one if all are known."""
    explained = {
        id(quote.block) for match in matches if match.kind == "cause" for quote in match.quotes
    }
    unknown = [failure for failure in failures if id(failure.block) not in explained]
    return next(iter(unknown or failures), None)


def _of_failure(
    failure: Failure,
    digest: LogDigest,
    matches: Sequence[Match],
    heard: Heard,
    source: str,
) -> DraftCase:
    ids = EvidenceIds()
    note, block, launch = failure.exception, failure.block, failure.launch
    told = tuple(_cite(ids, block.records[line]) for line in note.lines[:8])
    frames = tuple(frame for frame in note.frames if not is_plumbing(frame))[-5:]
    function = frames[-1].rpartition(":")[2] if frames else ""
    return DraftCase(
        kind="log",
        source=source,
        spoken=Spoken("exception", note.message, note.type, function, values_of(launch)),
        told=tuple(dict.fromkeys(told)),
        process=block.process,
        frames=frames,
        suspects=suspected_options(note, launch),
        skipped=skipped(failure),
        known=tuple(
            (match.runbook.id, match.runbook.title)
            for match in matches
            if match.kind == "cause" and any(quote.block is block for quote in match.quotes)
        ),
        before=heard.before(heard.began(failure)),
        **_common(ids, digest, matches, heard, launch),
    )


def _of_error(
    block: Block,
    digest: LogDigest,
    matches: Sequence[Match],
    heard: Heard,
    source: str,
    launch: Launch | None,
) -> DraftCase:
    ids = EvidenceIds()
    on: dict[Origin, On] = {Origin.PLATFORM: "platform", Origin.CONTROL_PLANE: "control_plane"}
    told = _cite(ids, block.first)
    return DraftCase(
        kind="log",
        source=source,
        spoken=Spoken(on.get(block.first.origin, "line"), block.text, "", "", values_of(launch)),
        told=(told,),
        process=block.process,
        before=heard.before(order_of(block.first)),
        **_common(ids, digest, matches, heard, launch),
    )


def _common(
    ids: EvidenceIds,
    digest: LogDigest,
    matches: Sequence[Match],
    heard: Heard,
    launch: Launch | None,
) -> dict[str, Any]:
    """Return what both kinds share: configuration, how it ended, the symptoms; cited in order."""
    records = [launch.args_record, *launch.env_records[:5]] if launch else []
    config = tuple(_cite(ids, record) for record in records if record is not None)
    facts: dict[str, Scalar] = {}
    ended = []
    for item in digest.observations():
        facts.update(item.facts)
        if item.origin is Origin.PLATFORM or "logs.probe_failed" in item.facts:
            ended.append(ids.cite(item.source, item.ref, item.quote, item.time))
    return {
        "evidence": tuple(ids.items),
        "config": tuple(dict.fromkeys(config)),
        "ended": tuple(dict.fromkeys(ended)),
        "platform": heard.platform,
        "service": digest.service,
        "launch": launch,
        "facts": facts,
        "shows_as": tuple((m.runbook.id, m.runbook.title) for m in matches if m.kind == "symptom"),
    }


def skipped(failure: Failure) -> tuple[str, ...]:
    """Return what was passed over on the way to the exception: wrappers, and further prints."""
    found = [
        f"{note.type}: {note.message.splitlines()[0] if note.message else ''} "
        f"({block.process or 'another process'}), a wrapper"
        for block in failure.wrappers
        for note in block.exceptions[-1:]
    ]
    own = [note for note in failure.block.exceptions if note is not failure.exception]
    found += [
        f"{note.type}: {note.message.splitlines()[0] if note.message else ''}, later in the chain"
        for note in own
    ]
    if failure.block.copies:
        plural = "s" if failure.block.copies > 1 else ""
        found.append(f"{failure.block.copies} further print{plural} of the same traceback")
    return tuple(found)


def _cite(ids: EvidenceIds, record: LogRecord) -> str:
    return ids.cite("logging", record.ref, record.text, record.time)
