"""The root causes of a log, with the configuration at fault and what was skipped on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbooks.catalog import Catalog
from runbooks.draft_logs import skipped
from runbooks.match import Match, Matcher
from tools.domain import Failure
from tools.logs.digest import digest_of
from tools.logs.sources import read_logs
from tools.logs.suspects import option_text, suspected_options
from tools.logs.traceback_rules import is_plumbing

FRAMES = 5
_STARTED = ("model", "quantization", "dtype", "kv_cache_dtype", "max_model_len")


@dataclass(frozen=True, slots=True)
class RootCause:
    """An exception that ended a process, and everything that a fix begins from.

    ``reasons`` are the further lines of its message; ``blamed`` holds option, value, and who says
    so: the runbook that recognises it, or the exception's own words.
    """

    type: str
    message: str
    reasons: tuple[str, ...]
    process: str
    ref: str
    time: str
    fingerprint: str
    frames: tuple[str, ...]
    blamed: tuple[tuple[str, object, str], ...]
    started: str
    without_effect: tuple[str, ...]
    skipped: tuple[str, ...]
    runbook: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Causes:
    """The root causes of a log, the newest start's first."""

    causes: tuple[RootCause, ...]
    entries: int
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return them as what ``json.dumps`` takes."""
        return {
            "entries": self.entries,
            "problems": list(self.problems),
            "causes": [
                asdict(cause)
                | {
                    "blamed": [
                        {"option": name, "value": value, "why": why}
                        for name, value, why in cause.blamed
                    ]
                }
                for cause in self.causes
            ],
        }


def causes_of(paths: Sequence[str], catalog: Catalog) -> Causes:
    """Return the root causes in log files. Raises UsageError for what can't be read."""
    matcher = Matcher(catalog)
    source = read_logs(paths)
    digest = digest_of(source, matcher.add)
    launch = digest.launches[-1] if digest.launches else None
    matches = matcher.finish(digest.observations(), launch)
    return Causes(
        tuple(_cause(failure, matches) for failure in digest.failures),
        digest.total,
        source.report.problems(),
    )


def _cause(failure: Failure, matches: Sequence[Match]) -> RootCause:
    note, launch = failure.exception, failure.launch
    match = next(
        (
            m
            for m in matches
            if m.kind == "cause" and any(quote.block is failure.block for quote in m.quotes)
        ),
        None,
    )
    first, *rest = note.message.split("\n") or [""]
    blamed: dict[str, tuple[object, str]] = {}
    if match is not None:
        for name, value in match.blamed:
            blamed[name] = (value, f"the runbook {match.runbook.id} blames it")
    for name, value in suspected_options(note, launch):
        blamed.setdefault(name, (value, "the exception's own words name it"))
    args = launch.args if launch else {}
    return RootCause(
        type=note.type,
        message=first.strip(),
        reasons=tuple(line.strip() for line in rest if line.strip()),
        process=failure.block.process,
        ref=failure.record.ref,
        time=failure.record.time.isoformat() if failure.record.time else "",
        fingerprint=failure.fingerprint,
        frames=tuple(f for f in reversed(note.frames) if not is_plumbing(f))[:FRAMES],
        blamed=tuple((name, value, why) for name, (value, why) in blamed.items()),
        started=", ".join(
            part
            for part in (
                f"vLLM {launch.version}" if launch and launch.version else "",
                option_text((name, args[name]) for name in _STARTED if name in args),
            )
            if part
        ),
        without_effect=launch.unknown_env if launch else (),
        skipped=skipped(failure),
        runbook=match.runbook.id if match else "",
        title=match.runbook.title if match else "",
        lines=tuple(failure.block.records[line].text for line in note.lines[:8]),
    )
