from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.simulator.filter_tokens import FilterError
from tools.simulator.logging_filter import And, Compare, LogId, Node, Not, Or, Text, parse_filter
from tools.simulator.logging_match import compile_filter
from tools.simulator.names import known_names

ENTRY: dict[str, Any] = {
    "logName": "projects/p/logs/run.googleapis.com%2Fstderr",
    "resource": {"type": "cloud_run_revision", "labels": {"service_name": "gemma"}},
    "timestamp": datetime(2026, 6, 6, 3, 41, 48, tzinfo=UTC),
    "insertId": "abc1",
    "labels": {"instanceId": "00ff", "compute.googleapis.com/name": "vm"},
    "textPayload": "(EngineCore pid=119) ValueError: no kernel, exit(1)",
}


def matches(source: str, entry: dict[str, Any] | None = None) -> bool:
    return compile_filter(parse_filter(source), known_names())(entry or ENTRY)


@pytest.mark.parametrize(
    "source",
    [
        "",
        'resource.type="cloud_run_revision"',
        'resource.type="cloud_run_revision" resource.labels.service_name="gemma"',
        'resource.labels.service_name="GEMMA"',
        'timestamp>="2026-06-06T03:41:48Z" AND timestamp<"2026-06-06T03:41:49Z"',
        'timestamp>="2026-06-05"',
        'logName="projects/p/logs/run.googleapis.com%2Fstderr"',
        'log_id("run.googleapis.com/stderr")',
        "ValueError",
        '"no kernel"',
        'textPayload:"valueerror"',
        'textPayload=~"exit\\(\\d+\\)"',
        'textPayload !~ "OutOfMemory"',
        'textPayload:("nothing" OR "kernel")',
        'labels."compute.googleapis.com/name"="vm"',
        "labels.instanceId:*",
        'NOT textPayload:"OutOfMemory"',
        '-textPayload:"OutOfMemory"',
        "NOT jsonPayload.message=foo",
        "severity<ERROR",
        "severity=DEFAULT",
        'insertId="abc1" -- a comment\n',
        'log_name:"stderr"',
        "(severity>=ERROR OR ValueError) AND NOT exit(2)".replace("exit(2)", '"exit(2)"'),
    ],
)
def test_matches(source: str) -> None:
    assert matches(source)


@pytest.mark.parametrize(
    "source",
    [
        "severity>=ERROR",
        "jsonPayload.message!=foo",
        'textPayload=~"valueerror"',
        'timestamp>"2026-06-06T03:41:48Z"',
        'resource.type="cloud_run_job"',
        "httpRequest.status>=500",
        'textPayload="ValueError"',
        "ValueError AND NOT kernel",
    ],
)
def test_does_not_match(source: str) -> None:
    assert not matches(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("resource.typ=x", "Field not found: 'resource.typ'"),
        ("service=x", "Field not found: 'service'"),
        ('resource.type="cloud_run_revison"', "cloud_run_revison"),
        (
            'resource.type="cloud_run_revision" AND resource.labels.zone="a"',
            "resource.labels.zone",
        ),
        ("resource.labels.servicename=x", "resource.labels.servicename"),
        ('logName="projects/p/logs/run.googleapis.com/stderr"', "URL-encoded"),
        ('logName="projects/p/logs/run.googleapis.com%2Fstdlog"', "stdlog"),
        ('log_id("stdlog")', "stdlog"),
        ("severity>=SEVERE", "invalid severity 'SEVERE'"),
        ("severity=~ERROR", "regular expressions must begin and end"),
        ('severity=~"ERROR"', "can't be used on severity"),
        ('timestamp>="yesterday"', "invalid timestamp 'yesterday'"),
        ("timestamp>=2026-06-06T03:00:00Z", "syntax error at line 1"),
        ('timestamp:"2026"', "can't be used on a timestamp"),
        ('textPayload=~"("', "invalid regular expression"),
        ("textPayload==x", "syntax error at line 1, column 13, token '='"),
        ("AND", "token 'AND'"),
        ("a AND", "token 'end of filter'"),
        ("(a", "token 'end of filter'"),
        ("a)", "token ')'"),
        ('"open', "syntax error"),
        ("textPayload.x=1", "Field not found"),
        ("SEARCH(x)", "SEARCH"),
        ("frobnicate(x)", "unknown function 'frobnicate'"),
        ("x" * 20_001, "too long"),
    ],
)
def test_refuses(source: str, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        matches(source)
    assert words in str(caught.value)


def test_or_binds_tighter_than_and() -> None:
    # "a OR NOT b AND NOT c OR d" is "(a OR (NOT b)) AND ((NOT c) OR d)" in Google's own example.
    assert parse_filter("a OR NOT b AND NOT c OR d") == And(
        (Or((Text("a"), Not(Text("b")))), Or((Not(Text("c")), Text("d"))))
    )


WORDS = st.text(alphabet="abcxyz_-09", min_size=1, max_size=6).map(lambda text: "w" + text)
LEAVES = st.one_of(
    st.builds(Text, WORDS),
    st.builds(
        lambda op, value: Compare(("textPayload",), op, value, True, _escape(value)),
        st.sampled_from(["=", "!=", ":", "=~", "!~", "<", ">="]),
        st.text(alphabet='ab "\\()\n=é', max_size=8),
    ),
    st.builds(LogId, st.sampled_from(["run.googleapis.com/stdout", "syslog"])),
)
NODES: st.SearchStrategy[Node] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=8,
)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def render(node: Node) -> str:
    match node:
        case And(parts):
            return "(" + " AND ".join(render(part) for part in parts) + ")"
        case Or(parts):
            return "(" + " OR ".join(render(part) for part in parts) + ")"
        case Not(part):
            return f"NOT ({render(part)})"
        case Compare(path, op, value):
            return f'{".".join(path)}{op}"{_escape(value)}"'
        case LogId(id):
            return f'log_id("{id}")'
        case Text(text):
            return text


@given(NODES)
def test_what_is_written_is_read_back(node: Node) -> None:
    assert parse_filter(render(node)) == node


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(source: str) -> None:
    try:
        compile_filter(parse_filter(source), known_names())
    except FilterError:
        return
    matches(source)


def evaluate(node: Node) -> bool:
    match node:
        case And(parts):
            return all(evaluate(part) for part in parts)
        case Or(parts):
            return any(evaluate(part) for part in parts)
        case Not(part):
            return not evaluate(part)
        case Text(text):
            return text in "wabc"
    raise AssertionError(node)


@given(st.data())
def test_logic_is_that_of_the_tree(data: st.DataObject) -> None:
    leaves = st.builds(Text, st.sampled_from(["wabc", "wxyz"]))
    node = data.draw(
        st.recursive(
            leaves,
            lambda inner: st.one_of(
                st.builds(Not, inner),
                st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
                st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
            ),
            max_leaves=6,
        )
    )
    assert matches(render(node), {"textPayload": "wabc"}) == evaluate(node)
