from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tui.headless_incidents import row, summary
from tui.headless_markdown import render_markdown
from tui.headless_report import render_json
from tui.headless_text import WIDTH, Paint, render_text
from tui.plain import clean, glyph, one_line

# What must never reach a terminal as it stands.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

FIELDS = (
    *("id", "title", "component", "confidence", "explanation", "runbook", "source", "ref"),
    *("time", "quote", "what", "from", "to", "why", "against", "last_seen", "status"),
)

hostile = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "\x1b]0;owned\x07",
            "\x1b[2J\x1b[31mred",
            "\x9b31m",
            "[bold red]x[/bold red] [link=http://e.example]y[/link]",
            "<script>alert(1)</script>",
            "![i](http://e.example/x.png) [a](javascript:x)",
            "```\n# not a heading\n````",
            "line\rover\r\nline",
            "a | b\n---\n# h",
            "\u202egnp.exe",
            "\ud800",
            "http://e.example/x",
            "&lt;b&gt; `code` `",
            "",
        ]
    ),
)
rows = st.lists(
    st.dictionaries(
        st.sampled_from(
            [
                "id",
                "title",
                "component",
                "confidence",
                "explanation",
                "runbook",
                "source",
                "ref",
                "time",
                "quote",
                "what",
                "from",
                "to",
                "why",
                "against",
                "last_seen",
                "status",
            ]
        ),
        st.one_of(hostile, st.none()),
    ),
    max_size=3,
)
reports = st.fixed_dictionaries(
    {
        "target": st.dictionaries(st.sampled_from(["service", "kind", "project"]), hostile),
        "verdict": st.one_of(hostile, st.just("confirmed")),
        "causes": st.lists(
            st.fixed_dictionaries(
                {
                    "id": hostile,
                    "title": hostile,
                    "explanation": hostile,
                    "evidence": st.lists(hostile, max_size=2),
                    "fix": st.lists(hostile, max_size=2),
                }
            ),
            max_size=2,
        ),
        "service_state": hostile,
        "impact": hostile,
        "changes": rows,
        "hypotheses": rows,
        "evidence": rows,
        "gaps": st.lists(hostile, max_size=3),
        "similar": rows,
        "brain": st.fixed_dictionaries({"mode": hostile, "why": hostile}),
        "incident": st.one_of(st.none(), hostile),
        "stats": st.dictionaries(st.sampled_from(["seconds", "cloud_calls"]), st.floats(0, 1e6)),
    }
)


@given(reports)
@settings(max_examples=150, deadline=None)
def test_text_is_safe_for_a_terminal_and_narrow(report: dict[str, Any]) -> None:
    text = render_text(report)
    assert not UNSAFE.search(text)
    text.encode("utf-8")
    quotes = [line for line in text.split("\n") if line.startswith("      | ")]
    assert all(len(line) <= WIDTH for line in quotes)


@given(reports)
@settings(max_examples=150, deadline=None)
def test_markdown_keeps_foreign_text_from_becoming_markup(report: dict[str, Any]) -> None:
    text = render_markdown(report)
    assert not UNSAFE.search(text)
    tokens = MarkdownIt("commonmark", {"html": True}).parse(text)
    kinds = {token.type for token in tokens}
    for token in tokens:
        kinds |= {child.type for child in token.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "table_open"}
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert len(headings) <= 1 + 2 * len(report["causes"]) + 5


@given(reports)
@settings(max_examples=100, deadline=None)
def test_json_reads_back_and_is_safe_to_show(report: dict[str, Any]) -> None:
    text = render_json(report)
    assert not UNSAFE.search(text)
    assert json.loads(text) == report


@given(hostile)
def test_clean_is_idempotent_and_keeps_what_is_harmless(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert "\n" not in one_line(text)
    assert clean("Grüße, 日本語 ✓ [b]") == "Grüße, 日本語 ✓ [b]"


@given(st.text(max_size=50), st.integers(1, 20))
def test_one_line_keeps_its_limit(text: str, limit: int) -> None:
    assert len(one_line(text, limit)) <= limit


def test_text_says_all_that_the_report_says(report: dict[str, Any]) -> None:
    text = " ".join(render_text(report).split())
    for expected in (
        "✗ cause confirmed SIMULATED",
        "gemma-4-12b (cloud-run, demo-project/us-central1)",
        "1. No int4 kernel for this GPU [confirmed]",
        "runbook wna16-no-kernel; vLLM engine; evidence E1, E2",
        "1. Remove `--linear-backend cutlass`.",
        "E1 logging 6a5ed2b9000a 2026-11-20T10:02:03Z",
        "| ValueError: Failed to find a kernel",
        "- args: (none) → --linear-backend cutlass",
        "Wrong image: it is new (against: it started before)",
        "- quota: not read",
        "i-20261101-abc123 No int4 kernel (resolved)",
        "rules, without the model: the endpoint refused the connection",
        "incident i-20261121-aa11bb; 2.1 s, 8 cloud calls",
    ):
        assert expected in text, expected
    assert all(len(line) <= WIDTH for line in render_text(report).splitlines())


def test_markdown_says_all_that_the_report_says(report: dict[str, Any]) -> None:
    text = render_markdown(report)
    assert text.startswith("# ✗ Cause confirmed · SIMULATED\n")
    assert "1. Remove `--linear-backend cutlass`." in text
    assert "```text\nValueError: Failed to find a kernel" in text


def test_simulated_stands_in_every_form(report: dict[str, Any]) -> None:
    assert "SIMULATED" in render_text(report)
    assert "SIMULATED" in render_markdown(report)
    assert json.loads(render_json(report))["target"]["simulated"] is True
    report["target"].pop("simulated")
    assert "SIMULATED" not in render_text(report) + render_markdown(report)


def test_colour_adds_escapes_and_changes_no_word(report: dict[str, Any]) -> None:
    plain, coloured = render_text(report), render_text(report, paint=Paint(True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_an_ascii_terminal_gets_ascii_glyphs(report: dict[str, Any]) -> None:
    assert render_text(report, encoding="ascii").startswith("[x] cause confirmed")
    assert glyph("healthy", "ascii") == "[ok]"


@pytest.mark.parametrize("report", [{}, {"causes": None, "evidence": "x", "target": []}])
def test_a_report_with_holes_is_still_shown(report: dict[str, Any]) -> None:
    assert "not enough evidence" in render_text(report)
    assert "Not enough evidence" in render_markdown(report)


def test_an_incident_fits_its_rows() -> None:
    incident = {
        "id": "i-20261121-aa11bb",
        "last_seen": "2026-11-21T10:00:00+00:00",
        "opened": "2026-11-20T10:00:00+00:00",
        "status": "open",
        "verdict": "confirmed",
        "service": "a-service-with-a-very-long-name-indeed",
        "title": "word " * 40,
        "count": 3,
    }
    lines = row(incident).split("\n")
    assert len(lines) == 2
    assert all(len(line) <= 82 for line in lines)
    assert lines[1].endswith("(seen 3 times)")
    assert "3 diagnoses" in summary(incident)


def test_a_quote_can_not_leave_its_code_block(report: dict[str, Any]) -> None:
    report["evidence"][0]["quote"] = "a\n```\n# not a heading\n````\n<b>x</b>"
    tokens = MarkdownIt("commonmark", {"html": True}).parse(render_markdown(report))
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences[0] == "a\n```\n# not a heading\n````\n<b>x</b>\n"
    assert "not a heading" not in [t.content for t in tokens if t.type == "inline"]
