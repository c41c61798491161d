"""The parts of a report that every form of it shows in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tui.plain import VERDICT_WORDS, clean, one_line

SIMULATED = "SIMULATED"

Report = Mapping[str, Any]


def verdict_of(report: Report) -> str:
    """Return the verdict's key; one that is not known counts as insufficient."""
    verdict = str(report.get("verdict", ""))
    return verdict if verdict in VERDICT_WORDS else "insufficient"


def headline(report: Report) -> str:
    """Return the verdict in words."""
    return VERDICT_WORDS[verdict_of(report)]


def is_simulated(report: Report) -> bool:
    """Return whether the target is a simulated cloud."""
    return bool(mapping(report, "target").get("simulated"))


def target_line(report: Report) -> str:
    """Return what was looked at: service, kind, project and place."""
    target = mapping(report, "target")
    name = one_line(target.get("service") or target.get("url") or "endpoint")
    place = "/".join(
        one_line(target[key]) for key in ("project", "zone", "location") if target.get(key)
    )
    details = ", ".join(part for part in (one_line(target.get("kind", "")), place) if part)
    return f"{name} ({details})" if details else name


def state_line(report: Report) -> str:
    """Return the state of the service and what its users get."""
    state = one_line(report.get("service_state", "unknown")).replace("_", " ")
    impact = one_line(report.get("impact", ""))
    return f"{state}. {impact}" if impact else f"{state}."


def change_lines(report: Report) -> Iterator[str]:
    """Yield what changed since the last good revision, one line each."""
    for change in rows(report, "changes"):
        before = one_line(change.get("from", "")) or "(none)"
        after = one_line(change.get("to", "")) or "(none)"
        when = f" at {one_line(change['time'])}" if change.get("time") else ""
        yield f"{one_line(change.get('what', ''))}: {before} → {after}{when}"


def hypothesis_lines(report: Report) -> Iterator[str]:
    """Yield what the model believes, and what speaks against it."""
    for guess in rows(report, "hypotheses"):
        line = one_line(guess.get("title", ""))
        if guess.get("why"):
            line += f": {one_line(guess['why'])}"
        if guess.get("against"):
            line += f" (against: {one_line(guess['against'])})"
        yield line


def similar_lines(report: Report) -> Iterator[str]:
    """Yield earlier incidents of the same kind."""
    for other in rows(report, "similar"):
        line = f"{one_line(other.get('id', ''))}  {one_line(other.get('title', ''))}".strip()
        when = one_line(other.get("last_seen") or other.get("opened") or "")
        parts = [part for part in (one_line(other.get("status", "")), when[:16]) if part]
        if other.get("times"):
            parts.append(f"seen {int(_number(other['times']))}× before")
        fixed = one_line(other.get("fixed_by") or other.get("resolution") or "")
        if fixed:
            parts.append(f"last fixed by: {fixed}")
        yield f"{line} ({', '.join(parts)})" if parts else line


def brain_line(report: Report) -> str:
    """Return who judged, and why not the model when it did not."""
    brain = mapping(report, "brain")
    mode = "rules, without the model" if brain.get("mode") != "model" else "model and rules"
    why = one_line(brain.get("why", ""))
    return f"{mode}: {why}" if why else mode


def stats_line(report: Report) -> str:
    """Return what the diagnosis took."""
    stats = mapping(report, "stats")
    parts = [f"{_number(stats.get('seconds')):.1f} s"]
    for key, unit in (
        ("cloud_calls", "cloud call"),
        ("model_calls", "model call"),
        ("prompt_tokens", "prompt token"),
    ):
        count = int(_number(stats.get(key)))
        if count:
            parts.append(f"{count:,} {unit}{'s' if count != 1 else ''}")
    return ", ".join(parts)


def cited_evidence(report: Report, otherwise: int = 6) -> list[Mapping[str, Any]]:
    """Return the evidence that the causes cite; without causes, the first pieces."""
    items = rows(report, "evidence")
    cited = {one for cause in rows(report, "causes") for one in texts(cause, "evidence")}
    return [item for item in items if item.get("id") in cited] or items[:otherwise]


def evidence_head(item: Mapping[str, Any]) -> str:
    """Return where a piece of evidence was read."""
    parts = (item.get("source", ""), item.get("ref", ""), item.get("time") or "")
    return "  ".join(one_line(part) for part in parts if part)


def texts(report: Report, key: str) -> list[str]:
    """Return a list of texts, cleaned, each on one line."""
    value = report.get(key)
    return [one_line(part) for part in value] if _is_list(value) and value else []


def rows(report: Report, key: str) -> list[Mapping[str, Any]]:
    """Return a list of objects; what is not an object is left out."""
    value = report.get(key)
    return [row for row in value if isinstance(row, Mapping)] if _is_list(value) and value else []


def mapping(report: Report, key: str) -> Mapping[str, Any]:
    """Return an object, empty when there is none."""
    value = report.get(key)
    return value if isinstance(value, Mapping) else {}


def quote_lines(item: Mapping[str, Any], lines: int = 0, characters: int = 0) -> list[str]:
    """Return the quoted text, cleaned, as lines; past a limit that is not 0 it ends in …."""
    whole = clean(item.get("quote", "")).strip("\n")
    shown = "\n".join(whole.split("\n")[:lines]) if lines else whole
    shown = shown[:characters] if characters else shown
    return f"{shown}{' …' if len(shown) < len(whole) else ''}".split("\n")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
