from __future__ import annotations

import re
from typing import Any

import pytest

from agent.postmortem import render_postmortem


@pytest.fixture
def incident() -> dict[str, Any]:
    return {
        "id": "i-1",
        "title": "No kernel fits",
        "status": "resolved",
        "service": "gemma",
        "verdict": "confirmed",
        "opened": "2026-06-01T00:00:00+00:00",
        "last_seen": "2026-06-01T01:00:00+00:00",
        "count": 2,
        "fingerprint": "abc",
        "resolution": "took `--linear-backend` out",
        "timeline": [
            {"time": "2026-06-01T00:00:00+00:00", "kind": "opened", "text": "it", "author": ""},
            {"time": "2026-06-01T02:00:00+00:00", "kind": "resolved", "text": "x", "author": "ann"},
        ],
        "runbooks": [{"runbook": "wna16", "digest": "f" * 64, "shown": "2026-06-01T00:00:00"}],
        "report": {
            "target": {"project": "p", "location": "l", "simulated": "int4"},
            "impact": "Nobody is served.",
            "causes": [
                {
                    "title": "No kernel fits",
                    "confidence": "confirmed",
                    "runbook": "wna16",
                    "evidence": ["E1"],
                    "explanation": "Every kernel refused.",
                    "fix": ["Run `gcloud run deploy`."],
                }
            ],
            "changes": [{"what": "env A", "from": "1", "to": "2", "time": "2026-05-31T23:00:00Z"}],
            "hypotheses": [{"title": "Cosmic rays", "why": "w", "against": "a"}],
            "evidence": [
                {"id": "E1", "source": "logging", "ref": "r1", "time": None, "quote": "cited"},
                {"id": "E2", "source": "logging", "ref": "r2", "time": None, "quote": "not cited"},
            ],
            "gaps": ["metrics: 403"],
        },
    }


def test_it_tells_the_whole_story_in_order(incident: dict[str, Any]) -> None:
    page = render_postmortem(incident)
    headings = re.findall(r"^##? (.*)$", page, re.MULTILINE)
    assert headings == [
        "Post-mortem: No kernel fits",
        "Impact",
        "Timeline (UTC)",
        "Cause: No kernel fits (confirmed)",
        "Resolution",
        "Changes since the last good revision",
        "Other hypotheses, not proven",
        "Evidence",
        "What could not be seen",
        "Runbooks as they were shown",
    ]
    times = re.findall(r"^\| (2026-[\d: -]+) \|", page, re.MULTILINE)
    assert (
        times
        == sorted(times)
        == ["2026-05-31 23:00:00", "2026-06-01 00:00:00", "2026-06-01 02:00:00"]
    )
    assert "took `--linear-backend` out" in page
    assert "```text\ncited\n```" in page
    assert "not cited" not in page
    assert "wna16, content ffffffffffff" in page
    assert "| Simulated | int4 |" in page


def test_what_is_not_known_is_left_out_or_said(incident: dict[str, Any]) -> None:
    bare = {**incident, "report": None, "timeline": [], "runbooks": [], "resolution": ""}
    page = render_postmortem(bare)
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Resolution"]
    assert "Not resolved yet." in page


def test_foreign_text_is_never_markup(incident: dict[str, Any]) -> None:
    hostile = "x | y\n# Owned\n<img src=x> [a](http://b) ```"
    incident["title"] = incident["resolution"] = hostile
    incident["timeline"][0]["text"] = hostile
    incident["report"]["evidence"][0]["quote"] = "```\n# Owned\n```"
    page = render_postmortem(incident)
    fenced = re.sub(r"^(`{3,})text\n.*?^\1$", "", page, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^# Owned", fenced, re.MULTILINE)
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(", fenced)
    assert "````text" in page
    rows = [line for line in fenced.splitlines() if line.startswith("| 2026")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
