"""What a draft is made of: a failure's words, its evidence, and what surrounded it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from runbooks.catalog import Catalog
from runbooks.draft_signature import Spoken
from tools.domain import ExceptionNote, Launch, Scalar
from tools.errors import UsageError
from tools.logs.launch_args import parse_args
from tools.logs.prefix import split_prefix
from tools.logs.suspects import suspected_options
from tools.logs.trace import exception_line

CaseKind = Literal["log", "incident", "pattern"]
MAX_QUOTE = 2_000  # characters of one piece of evidence
_ARGS = "non-default args: "
_BANNER = re.compile(r"version\s+(\d[\w.]+)")


@dataclass(frozen=True, slots=True)
class Quoted:
    """One piece of evidence: its id, where it stands, and its canonical text."""

    id: str
    source: str
    ref: str
    text: str
    time: str = ""


@dataclass(frozen=True, slots=True)
class DraftCase:
    """A failure that no runbook knows, with everything that was seen of it.

    ``told`` are the ids of the evidence that holds the failure's words, ``config`` of what the
    process printed of its options, ``ended`` of what proves that it ended. ``known`` are the
    runbooks, id and title, that recognise it already; ``shows_as`` the symptoms that it had.
    """

    kind: CaseKind
    source: str
    spoken: Spoken
    evidence: tuple[Quoted, ...]
    told: tuple[str, ...]
    config: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    platform: str = ""
    service: str = ""
    process: str = ""
    frames: tuple[str, ...] = ()
    launch: Launch | None = None
    suspects: tuple[tuple[str, object], ...] = ()
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    known: tuple[tuple[str, str], ...] = ()
    shows_as: tuple[tuple[str, str], ...] = ()
    similar: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    count: int = 1

    def quoted(self, evidence: str) -> Quoted | None:
        """Return the evidence with this id."""
        return next((item for item in self.evidence if item.id == evidence), None)


class EvidenceIds:
    """Number pieces of evidence; the same reference and text is one."""

    def __init__(self) -> None:
        self.items: list[Quoted] = []

    def cite(self, source: str, ref: str, text: str, time: datetime | None) -> str:
        """Add a piece, or find it again; return its id."""
        text = text[:MAX_QUOTE]
        for item in self.items:
            if (item.ref, item.text) == (ref, text):
                return item.id
        shown = time.isoformat().replace("+00:00", "Z") if time else ""
        self.items.append(Quoted(f"E{len(self.items) + 1}", source, ref, text, shown))
        return self.items[-1].id


def case_from_report(incident: Mapping[str, Any], catalog: Catalog) -> DraftCase:
    """Return the case of a recorded incident, whose evidence keeps its ids.

    Raises UsageError for an incident without a report or without evidence.
    """
    report = incident.get("report") or {}
    causes = report.get("causes") or []
    name = str(incident.get("id", "")) or "the incident"
    if not causes or not report.get("evidence"):
        raise UsageError(
            f"{name} has no cause with evidence, so there is nothing to draft from.",
            fix="Draft from a log: `gemma-sre runbook draft --logs FILE`.",
        )
    cause = next((c for c in causes if not _in_library(c, catalog)), causes[0])
    evidence = tuple(
        Quoted(str(e["id"]), str(e["source"]), str(e["ref"]), str(e["quote"]), str(e["time"] or ""))
        for e in report["evidence"]
    )
    by_id = {item.id: item for item in evidence}
    cited = [by_id[ref] for ref in cause.get("evidence", []) if ref in by_id]
    found = _spoken_of(cited) or _spoken_of(evidence)
    if found is None:
        raise UsageError(f"{name} quotes no words by which it could be recognised again.")
    spoken, told, process = found
    config = [item for item in evidence if _ARGS in item.text]
    launch = _launch(config)
    target = report.get("target") or {}
    note = ExceptionNote(spoken.type, spoken.message, (0,))
    return DraftCase(
        kind="incident",
        source=f"incident {name}, first seen {str(incident.get('opened', ''))[:16]}",
        spoken=Spoken(spoken.on, spoken.message, spoken.type, "", _values(launch)),
        evidence=evidence,
        told=told,
        config=tuple(item.id for item in config),
        ended=tuple(item.id for item in cited if item.id not in told and item not in config),
        platform=str(target.get("kind", "")) if target.get("service") else "",
        service=str(target.get("service", "")),
        process=process,
        launch=launch,
        suspects=suspected_options(note, launch),
        known=_known(cause, catalog),
        similar=tuple(_similar(row) for row in report.get("similar") or ()),
        count=int(incident.get("count") or 1),
    )


def case_from_pattern(pattern: Mapping[str, Any]) -> DraftCase:
    """Return the case of a mined pattern: ``id``, ``template``, ``examples`` and ``count``."""
    examples = [item for item in pattern.get("examples") or () if str(item["text"]).strip()]
    if not examples:
        raise UsageError(
            f"The pattern {pattern.get('id')} has no example line.",
            fix="Mine it again: `gemma-sre logs patterns FILE`.",
        )
    evidence = tuple(
        Quoted(f"E{number}", "logging", str(item["ref"]), str(item["text"])[:MAX_QUOTE])
        for number, item in enumerate(examples, 1)
    )
    found = _spoken_of(evidence)
    if found is None:
        raise UsageError(f"The pattern {pattern.get('id')} says nothing to recognise it by.")
    spoken, _, process = found
    count = int(pattern.get("count") or 1)
    lines = "1 line" if count == 1 else f"{count} lines"
    others = [_bare(item.text) for item in evidence[1:]]
    return DraftCase(
        kind="pattern",
        source=f"pattern {pattern.get('id')}, {lines} like `{pattern.get('template')}`",
        spoken=spoken,
        evidence=evidence,
        told=tuple(item.id for item in evidence),
        service=str(pattern.get("service") or ""),
        process=process,
        also=tuple(dict.fromkeys(text for text in others if text != spoken.text)),
        count=count,
    )


def _spoken_of(items: Sequence[Quoted]) -> tuple[Spoken, tuple[str, ...], str] | None:
    """Return the failure's words among pieces of evidence, the ids that hold them, the process."""
    for index, item in enumerate(items):
        for line in item.text.split("\n"):
            prefix = split_prefix(line)
            found = exception_line(line[prefix.length :])
            if found is None:
                continue
            rest = item.text.split(line, 1)[1].split("\n")[1:]
            told, more = [item.id], [text for text in rest if text.strip()]
            for later in items[index + 1 :]:
                after = split_prefix(later.text)
                if not prefix.process or after.process != prefix.process or _ARGS in later.text:
                    break
                told.append(later.id)
                more.append(later.text[after.length :])
            message = "\n".join([found[1], *more])
            return Spoken("exception", message, found[0]), tuple(told), prefix.process
    for item in items:
        if item.source == "logging" and item.text.strip() and _ARGS not in item.text:
            process = split_prefix(item.text).process
            return Spoken("line", _bare(item.text)), (item.id,), process
        if item.source in ("run", "tpu", "quota") and item.text.strip():
            return Spoken("control_plane", item.text), (item.id,), ""
    return None


def _bare(text: str) -> str:
    return text[split_prefix(text).length :].strip()


def _launch(config: Sequence[Quoted]) -> Launch | None:
    if not config:
        return None
    args = parse_args(config[-1].text.partition(_ARGS)[2])
    return Launch(model=str(args.get("model", "")), args=args)


def _values(launch: Launch | None) -> tuple[str, ...]:
    """Return what is known to vary from one launch to the next: the model's names."""
    if launch is None:
        return ()
    names = (launch.model, launch.args.get("model"), launch.args.get("served_model_name"))
    return tuple({str(name) for name in names if isinstance(name, str) and name})


def _in_library(cause: Mapping[str, Any], catalog: Catalog) -> bool:
    book = catalog.get(str(cause.get("runbook") or ""))
    return book is not None and book in catalog.in_force


def _known(cause: Mapping[str, Any], catalog: Catalog) -> tuple[tuple[str, str], ...]:
    book = catalog.get(str(cause.get("runbook") or ""))
    return ((book.id, book.title),) if book is not None and book in catalog.in_force else ()


def _similar(row: Mapping[str, Any]) -> str:
    fixed = f", fixed by: {row['resolution']}" if row.get("resolution") else ""
    return f"{row.get('incident')} ({row.get('status')}, {str(row.get('last_seen'))[:10]}){fixed}"


def values_of(launch: Launch | None) -> tuple[str, ...]:
    """Return the texts of a launch that differ from one service to another."""
    return _values(launch)


def join_ids(ids: Iterable[str]) -> str:
    """Return evidence ids as they stand behind a sentence: ``[E1] [E2]``."""
    return " ".join(f"[{one}]" for one in ids)
