"""Malformed replies are mended and run, or told to the model; none of them is ever an answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.call_syntax import find_calls, parse_object
from agent.messages import CONTROL_TEXT, Call, Reply, parse_call
from agent.repair import fit_arguments, mend
from agent.shown import Shown

CORPUS = yaml.safe_load(Path(__file__).with_name("repair_corpus.yaml").read_text("utf-8"))
CASES = {case["name"]: case for case in CORPUS["cases"]}


def schema(spec: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, kind in spec.items():
        if name == "!":
            continue
        if kind == "string":
            properties[name] = {"type": "string"}
        elif kind[0] == "integer":
            properties[name] = {"type": "integer", "minimum": kind[1], "maximum": kind[2]}
        else:
            properties[name] = {"type": "string", "enum": kind}
    return {"type": "object", "properties": properties, "required": spec.get("!", [])}


TOOLS = [
    {"type": "function", "function": {"name": name, "description": "", "parameters": schema(spec)}}
    for name, spec in CORPUS["tools"].items()
]
NAMES = set(CORPUS["tools"])


def reply_of(case: dict[str, Any]) -> Reply:
    calls: tuple[Call, ...] = ()
    if "call" in case:
        calls = (Call("x", case["call"][0], case["call"][1]),)
    if "raw_call" in case:
        name, raw = case["raw_call"]
        calls = (parse_call({"id": "x", "name": name, "arguments": raw}),)
    return Reply(
        case.get("content") or "", case.get("reasoning", ""), calls, case.get("finish", "stop")
    )


@pytest.mark.parametrize("name", CASES)
def test_corpus(name: str) -> None:
    case = CASES[name]
    mended = mend(reply_of(case), TOOLS, case.get("given", ""), prefix="r1")
    if "problem" in case:
        assert case["problem"] in mended.problem
        return
    assert mended.problem == ""
    found = [[call.name, call.arguments] for call in mended.reply.calls]
    assert found == case.get("calls", [])
    ids = [call.id for call in mended.reply.calls]
    assert len(set(ids)) == len(ids)
    if "answer" in case:
        assert mended.reply.content.strip() == case["answer"]
    assert not CONTROL_TEXT.search(mended.reply.content)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("name", CASES)
def test_nothing_of_it_is_shown_while_it_streams(name: str, size: int) -> None:
    case, pieces = CASES[name], []
    shown = Shown(pieces.append)
    text = case.get("content") or ""
    for at in range(0, len(text), size):
        shown.feed(text[at : at + size])
    shown.close()
    out = "".join(pieces)
    assert not CONTROL_TEXT.search(out)
    assert "arguments" not in out
    assert "Thank you" not in out
    if case["name"] == "a plain answer":
        assert out == text


@settings(deadline=None)  # the machine may be busy
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
        st.one_of(
            st.integers(),
            st.booleans(),
            st.text(max_size=30),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=6,
    )
)
def test_json_is_read_as_json(value: dict[str, Any]) -> None:
    read, cut = parse_object(json.dumps(value))
    assert not cut
    assert read == value


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=400), st.integers(0, 400))
def test_any_text_is_read_or_refused(text: str, at: int) -> None:
    marked = text[:at] + "<|tool_call>call:read_logs{" + text[at:]
    calls, _rest = find_calls(marked, NAMES)
    assert all(isinstance(call.arguments, dict) for call in calls)
    mended = mend(Reply(marked, "", (), "stop"), TOOLS)
    assert mended.problem or mended.reply.calls or not CONTROL_TEXT.search(mended.reply.content)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=40), st.text(max_size=40))
def test_a_cut_object_never_invents(key: str, value: str) -> None:
    whole = json.dumps({"first": 1, key: value})
    for end in range(1, len(whole)):
        try:
            read, cut = parse_object(whole[:end])
        except ValueError:
            continue
        assert cut or read == json.loads(whole)
        assert all(read[name] == {"first": 1, key: value}.get(name) for name in read if not cut)


@pytest.mark.parametrize(
    "text",
    ["<|tool_call>" * 4000, "{" * 20000, "```" * 9000, "call:read_logs{" * 3000, "<" * 20000],
)
def test_a_hostile_reply_costs_no_time(text: str) -> None:
    started = time.process_time()
    mend(Reply(text, "", (), "stop"), TOOLS)
    assert time.process_time() - started < 1


def test_what_can_not_be_put_right_is_left_for_the_tools_own_check() -> None:
    fitted, _ = fit_arguments(TOOLS[0]["function"]["parameters"], {"minutes": "soon"})
    assert fitted == {"minutes": "soon"}
