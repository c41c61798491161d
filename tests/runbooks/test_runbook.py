from __future__ import annotations

import contextlib
import string
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.catalog import Catalog
from runbooks.rule import Rule
from runbooks.runbook import (
    PLATFORMS,
    SECTIONS,
    Example,
    Runbook,
    parse_runbook,
    render_runbook,
)
from tools.errors import RunbookError

MINIMAL = """---
id: my-failure
title: It fails
severity: high
component: vllm
rules:
- line: it failed with (\\d+)
  on: exception
  decisive: true
reviewed: 2026-01-31
---

## Meaning

It means this.

```bash
## not a heading, a comment
echo yes
```

## Impact

None.
"""


def test_a_file_is_read_with_its_defaults() -> None:
    runbook = parse_runbook(MINIMAL, "my.md")
    assert runbook.id == "my-failure"
    assert runbook.rules == (Rule(line=r"it failed with (\d+)", on="exception", decisive=True),)
    assert (runbook.kind, runbook.confidence, runbook.status) == ("cause", "inferred", "draft")
    assert runbook.reviewed == date(2026, 1, 31)
    assert list(runbook.sections) == ["Meaning", "Impact"]
    assert "## not a heading" in runbook.sections["Meaning"]
    assert runbook.path == "my.md"


text = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=40
).filter(lambda value: value.strip() == value and value != "")
slug = st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}", fullmatch=True)
words = st.text(string.ascii_letters + " .:'\"{}[]#&*!|>%@`\\", min_size=1, max_size=30).map(
    lambda value: f"x{value.strip()}x"
)
scalar = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6), words, st.just("on")
)
literal = st.from_regex(r"[A-Za-z0-9 ]{1,20}", fullmatch=True)
leaf = st.one_of(
    st.builds(
        Rule,
        line=literal,
        on=st.sampled_from(["line", "exception", "control_plane", "platform"]),
        config=st.dictionaries(slug, scalar, max_size=2),
    ),
    st.builds(Rule, fact=st.just("tpu.state"), equals=scalar),
    st.builds(
        Rule, fact=st.just("vllm.waiting"), at_least=st.floats(0, 10), at_most=st.floats(10, 20)
    ),
    st.builds(Rule, fact=st.just("run.reason"), one_of=st.tuples(scalar, scalar), matches=literal),
)
rule = st.one_of(leaf, st.builds(Rule, all=st.lists(leaf, min_size=1, max_size=3).map(tuple)))
section = st.lists(words, min_size=1, max_size=4).map("\n".join)
runbooks = st.builds(
    Runbook,
    id=slug,
    title=text,
    severity=st.sampled_from(["critical", "high", "medium", "low"]),
    component=text,
    platforms=st.lists(st.sampled_from(PLATFORMS), max_size=3).map(tuple),
    versions=st.sampled_from(["", ">=0.18", ">=0.18,<0.23"]),
    fixed_in=st.one_of(st.just(""), text),
    confidence=st.sampled_from(["verified", "inferred"]),
    kind=st.sampled_from(["cause", "symptom", "noise"]),
    rules=st.lists(rule, min_size=1, max_size=3).map(tuple),
    blames=st.lists(slug, max_size=2).map(tuple),
    may_be=st.lists(slug, max_size=2).map(tuple),
    excludes=st.lists(slug, max_size=2).map(tuple),
    fix=st.lists(text, max_size=3).map(tuple),
    sources=st.lists(text, max_size=2).map(tuple),
    reviewed=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    status=st.sampled_from(["shipped", "draft", "reviewed", "approved", "superseded"]),
    sections=st.dictionaries(st.sampled_from(SECTIONS), section, max_size=8),
    examples=st.lists(
        st.builds(
            Example,
            lines=st.lists(text, min_size=1, max_size=2).map(tuple),
            facts=st.dictionaries(slug, scalar, max_size=2),
        ),
        max_size=2,
    ).map(tuple),
    never=st.lists(text, max_size=2).map(tuple),
)


@given(runbooks)
def test_what_is_rendered_is_read_back(runbook: Runbook) -> None:
    again = parse_runbook(render_runbook(runbook), "again.md")
    assert again == runbook
    assert render_runbook(again) == render_runbook(runbook)


def test_content_that_would_read_back_otherwise_is_refused() -> None:
    runbook = parse_runbook(MINIMAL, "my.md")
    hidden = replace(runbook, sections={"Meaning": "a\n\n## Rollback\n\nb"})
    with pytest.raises(RunbookError, match="can't be written"):
        render_runbook(hidden)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("severity: high", "severity: hihg", ["severity", "hihg", "high"]),
        ("severity: high", "severty: high", ["severty", "not a known key", "'severity'"]),
        ("component: vllm", "component: 12", ["component", "must be text"]),
        ("  on: exception", "  on: exeption", ["rules[0].on", "exception"]),
        ("  on: exception", "  onn: exception", ["rules[0].onn", "'on'"]),
        ("line: it failed with (\\d+)", "line: 'it (?=failed)'", ["rules[0].line", "RE2"]),
        ("line: it failed with (\\d+)", "line: '(a)\\1'", ["rules[0].line"]),
        ("line: it failed with (\\d+)", "line: 'x*'", ["rules[0].line", "every line"]),
        ("  decisive: true", "  decisive: 1", ["rules[0].decisive", "true or false"]),
        ("reviewed: 2026-01-31", "reviewed: yesterday", ["reviewed", "date"]),
        ("reviewed: 2026-01-31", "reviewed: 2026-01-31\nversions: newest", ["versions", "range"]),
        ("id: my-failure", "id: ../../etc/passwd", ["id", "small letters"]),
        ("id: my-failure", "id: a\nid: b", ["stands twice"]),
        ("title: It fails", "title: 'It fails", ["not valid YAML"]),
        ("title: It fails", "title: !!python/object:os.system x", ["not valid YAML"]),
        ("## Impact", "## Effect", ["'Effect'", "not a known section"]),
        ("## Impact", "## Meaning", ["'Meaning'", "twice"]),
    ],
)
def test_a_mistake_is_named_with_its_place(old: str, new: str, words: list[str]) -> None:
    with pytest.raises(RunbookError) as caught:
        parse_runbook(MINIMAL.replace(old, new), "broken.md")
    message = str(caught.value)
    assert message.startswith("broken.md: ")
    assert caught.value.path == "broken.md"
    for word in words:
        assert word in message


def test_a_symptom_can_never_be_decisive() -> None:
    with pytest.raises(RunbookError, match="never a cause"):
        parse_runbook(MINIMAL.replace("title:", "kind: symptom\ntitle:"), "s.md")


def test_an_option_alone_is_never_decisive() -> None:
    text = MINIMAL.replace(
        "- line: it failed with (\\d+)\n  on: exception", "- config: {linear_backend: set}"
    )
    with pytest.raises(RunbookError, match="option of the launch alone"):
        parse_runbook(text, "s.md")


@given(st.text(max_size=300), st.integers(0, 400))
def test_no_text_crashes_the_reader(noise: str, at: int) -> None:
    damaged = MINIMAL[:at] + noise + MINIMAL[at:]
    with contextlib.suppress(RunbookError):
        parse_runbook(damaged, "damaged.md")


def test_the_digest_is_of_the_content_and_not_of_the_status() -> None:
    runbook = replace(parse_runbook(MINIMAL, "my.md"), text="", path="")
    draft = parse_runbook(render_runbook(runbook), "a.md")
    approved = parse_runbook(render_runbook(replace(runbook, status="approved")), "b.md")
    edited = parse_runbook(render_runbook(replace(runbook, title="Other")), "c.md")
    assert draft.digest == approved.digest != edited.digest


def test_a_word_that_begins_like_a_boolean_is_a_word() -> None:
    text = Catalog.load().runbooks["wna16-no-kernel"].text
    with pytest.raises(RunbookError, match="decisive"):
        parse_runbook(text.replace("decisive: true", "decisive: true0"), "x.md")
