"""The object of ``diagnose --json``: the one form in which a diagnosis is shown and stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.evidence import EvidenceList, iso
from agent.verdict import Cause, Findings, Verdict
from runbooks.match import fill_fix
from tools.domain import Observation, Target

SCHEMA = 1
_OWN_IDS = re.compile(r" \[E\d+\]")
MAX_EVIDENCE = 40


def build_report(
    findings: Findings, verdict: Verdict, evidence: EvidenceList, *, simulated: str = ""
) -> dict[str, Any]:
    """Lay out a verdict; evidence is numbered in the order in which the causes cite it.

    ``evidence`` may hold what an earlier look cited: its ids stay what they were.
    """
    causes = [_cause(cause, evidence) for cause in verdict.causes]
    evidence.observe_all(verdict.rests_on)
    for observation in findings.observations:
        if len(evidence.items) >= MAX_EVIDENCE:
            break
        evidence.observe(observation)
    return {
        "schema": SCHEMA,
        "target": _target(findings.target, findings.observations, simulated),
        "verdict": verdict.level,
        "causes": causes,
        "service_state": verdict.state.state,
        "impact": verdict.state.impact,
        "changes": [
            {"what": c.what, "from": c.before, "to": c.after, "time": iso(c.time)}
            for c in findings.changes
        ],
        "hypotheses": [
            {"title": h.title, "why": h.why, "against": h.against} for h in verdict.hypotheses
        ],
        "evidence": [item.to_json() for item in evidence.items],
        "gaps": [str(gap) for gap in findings.gaps],
        "brain": {"mode": "rules", "why": "the model was not asked"},
        "similar": [],
        "incident": None,
        "stats": {
            "seconds": 0.0,
            "cloud_calls": findings.cloud_calls,
            "model_calls": 0,
            "prompt_tokens": 0,
        },
    }


def with_brain(
    report: Mapping[str, Any],
    mode: str,
    why: str,
    hypotheses: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Say who thought; what only the model believes goes to the hypotheses and nowhere else."""
    known = {hypothesis["title"] for hypothesis in report["hypotheses"]}
    return {
        **report,
        "brain": {"mode": mode, "why": why},
        "hypotheses": [
            *report["hypotheses"],
            *({**h} for h in hypotheses if h["title"] not in known),
        ],
    }


def _cause(cause: Cause, evidence: EvidenceList) -> dict[str, Any]:
    cited: list[str | None] = []
    if cause.match is not None:
        config = cause.match.config_quote
        quotes = [*cause.match.quotes, *([config] if config is not None else [])]
        cited.extend(evidence.cite(q.source, q.ref, q.text, q.time, q.origin) for q in quotes)
    if cause.failure is not None:
        block = cause.failure.block
        records = [block.records[line] for line in cause.failure.exception.lines[:3]]
        launch = cause.failure.launch
        if launch is not None and launch.args_record is not None:
            records.append(launch.args_record)
        cited.extend(evidence.cite("logging", r.ref, r.text, r.time, r.origin) for r in records)
    cited.extend(evidence.observe_all(cause.proof))
    return {
        "id": cause.id,
        "title": cause.title,
        "component": cause.component,
        "confidence": cause.confidence,
        "explanation": _explanation(cause),
        "evidence": list(dict.fromkeys(ref for ref in cited if ref)),
        "fix": list(_fix(cause)),
        "runbook": cause.match.runbook.id if cause.match is not None else None,
    }


def _explanation(cause: Cause) -> str:
    if cause.match is None:
        assert cause.failure is not None  # noqa: S101 - a cause has a match or a failure
        return (
            "No runbook knows this failure. The exception above is the first that is not a"
            f" wrapper, in {cause.failure.block.process or 'the process'}."
        )
    meaning = cause.match.runbook.sections.get("Meaning", "").strip().split("\n\n")[0]
    # Ids in a runbook point at its own section Evidence, not at this report's.
    text = _OWN_IDS.sub("", " ".join(meaning.split()))
    if cause.match.blamed:
        options = ", ".join(f"{option} = {value!r}" for option, value in cause.match.blamed)
        text = f"{text} In this process's own arguments: {options}."
    return text


def _fix(cause: Cause) -> tuple[str, ...]:
    if cause.match is not None:
        return fill_fix(cause.match)
    return (
        "Read the exception and its reasons; no runbook has a tested fix for it.",
        "If a deployment was rolled out just before, go back to the revision before it.",
    )


def _target(target: Target, observations: Sequence[Observation], simulated: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": target.kind,
        "service": target.service,
        "project": target.project,
        "location": target.location,
        "zone": target.zone,
        "url": target.url,
        "found_by": target.found_by,
    }
    revision = next(
        (o.facts["run.revision"] for o in observations if "run.revision" in o.facts), ""
    )
    if revision:
        fields["revision"] = revision
    if simulated:
        fields["simulated"] = simulated
    return fields
