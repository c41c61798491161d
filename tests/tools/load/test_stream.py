from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.load.records import Outcome
from tools.load.stream import Exchange

TRANSCRIPT = Path(__file__).parents[4] / "shared/data/vllm-0.32/http-transcript.json"
ABOUT = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return json.dumps(
        {**ABOUT, "choices": [choice], **more},
        separators=(",", ":"),
        ensure_ascii=False,
    )


def usage(prompt: int, completion: int) -> str:
    told = {"prompt_tokens": prompt, "completion_tokens": completion}
    return json.dumps({**ABOUT, "choices": [], "usage": told}, separators=(",", ":"))


def stream(payloads: list[str], end: str = "\n\n") -> bytes:
    return "".join(f"data: {one}{end}" for one in payloads).encode()


def whole(texts: list[str], *, field: str = "content") -> list[str]:
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({field: text}) for text in texts),
        chunk({}, "stop"),
        usage(5, len(texts)),
        "[DONE]",
    ]


def read(raw: bytes, cuts: list[int] | None = None) -> Exchange:
    exchange = Exchange(0, 1)
    exchange.sent, exchange.status = 1, 200
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts or []), len(raw)]
    for now, (start, end) in enumerate(itertools.pairwise(places), 10):
        if end > start:
            exchange.feed(raw[start:end], now)
    exchange.finish_at(1000, whole=True)
    return exchange


texts = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [" word", '"', "\\", '\\"', '","finish_reason":"stop"', "\n\ndata: x", "é"]
        ),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(
    texts=texts,
    cuts=st.lists(st.integers(0, 100_000), max_size=20),
    end=st.sampled_from(["\n\n", "\r\n\r\n"]),
    field=st.sampled_from(["content", "reasoning", "reasoning_content"]),
)
def test_any_texts_in_any_cut_are_counted_as_json_counts_them(
    texts: list[str], cuts: list[int], end: str, field: str
) -> None:
    exchange = read(stream(whole(texts, field=field), end), cuts)
    assert exchange.outcome is Outcome.OK, exchange.detail
    assert len(exchange.times) == sum(1 for text in texts if text)
    assert exchange.times == sorted(exchange.times)
    assert (exchange.prompt_tokens, exchange.completion_tokens) == (5, len(texts))
    marked = exchange.first_content if field == "content" else exchange.first_reasoning
    assert bool(marked) == any(texts)


@settings(max_examples=100)
@given(raw=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_arbitrary_bytes_are_never_a_success(raw: bytes, cuts: list[int]) -> None:
    exchange = read(stream(whole(["a", "b"]))[:200] + raw, cuts)
    assert exchange.outcome is not Outcome.OK


def test_texts_are_heard_whole() -> None:
    heard: list[tuple[str, str]] = []
    exchange = Exchange(0, 1, lambda kind, text: heard.append((kind, text)))
    exchange.feed(stream([chunk({"reasoning": "hm"}), *whole(["a", "b\n"])]), 5)
    assert heard == [("reasoning", "hm"), ("content", "a"), ("content", "b\n")]
    assert exchange.first_reasoning == exchange.first_content == 5


def test_the_recorded_stream_of_vllm() -> None:
    if not TRANSCRIPT.exists():
        pytest.skip("the recorded answers of vLLM 0.32 are not here")
    raw = json.loads(TRANSCRIPT.read_text())["chat_stream"]["response"].encode()
    exchange = read(raw, [100, 333, 1000])
    assert exchange.outcome is Outcome.OK
    assert exchange.completion_tokens == 12
    assert exchange.finish == "length"
    assert 0 < len(exchange.times) <= 12


def test_a_chunk_of_several_tokens_is_one_chunk() -> None:
    exchange = read(stream([*whole(["a b c", "d e"])[:-2], usage(5, 5), "[DONE]"]))
    assert (len(exchange.times), exchange.completion_tokens) == (2, 5)


def test_an_empty_role_delta_is_no_token() -> None:
    exchange = read(stream([chunk({"role": "assistant", "content": ""}), "[DONE]"]))
    assert not exchange.times
    assert not exchange.first_content


@pytest.mark.parametrize(
    ("payloads", "outcome", "words"),
    [
        ([*whole(["a"])[:2], '{"error":{"message":"engine died","code":500}}', "[DONE]"],
         Outcome.ERROR_IN_STREAM, "engine died"),
        (['{"object":"error","message":"old shape"}', "[DONE]"],
         Outcome.ERROR_IN_STREAM, "old shape"),
        ([*whole(["a"])[:2], '{"id": "c", "choi'], Outcome.GARBAGE, "choi"),
        (["[1,2]"], Outcome.GARBAGE, "[1,2]"),
        (whole(["a"])[:-1], Outcome.INCOMPLETE, "without [DONE]"),
        ([*whole(["a"])[:-2], "[DONE]"], Outcome.INCOMPLETE, "without usage"),
        ([chunk({"content": "a"}), usage(1, 1), "[DONE]"],
         Outcome.INCOMPLETE, "without finish reason"),
        (["[DONE]"], Outcome.INCOMPLETE, "without finish reason, usage"),
    ],
)  # fmt: skip
def test_what_is_no_success(payloads: list[str], outcome: Outcome, words: str) -> None:
    exchange = read(stream(payloads))
    assert exchange.outcome is outcome
    assert words in exchange.detail


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(429, Outcome.RATE_LIMITED), (503, Outcome.UNAVAILABLE), (400, Outcome.HTTP_ERROR)],
)
def test_a_status_that_is_no_success(status: int, outcome: Outcome) -> None:
    exchange = Exchange(0, 1)
    exchange.status = status
    exchange.feed_error(
        b'{"error":{"message":"busy',
    )
    exchange.feed_error(b'","code":1}}')
    exchange.finish_at(9, whole=True)
    assert (exchange.outcome, exchange.detail) == (outcome, f"HTTP {status} busy")


def test_comments_and_named_events_are_no_garbage() -> None:
    raw = b": ping\n\nevent: message\nid: 4\ndata: " + whole(["a"])[1].encode() + b"\n\n"
    exchange = read(raw + stream(whole(["b"])))
    assert exchange.outcome is Outcome.OK
    assert len(exchange.times) == 2


def test_a_page_of_html_is_garbage() -> None:
    assert read(b"<html><body>Service Unavailable</body></html>").outcome is Outcome.GARBAGE


def test_an_event_of_another_shape_is_never_taken_for_a_known_one() -> None:
    # The second begins and ends as the first does, but carries thinking too.
    exchange = read(stream([chunk({"content": "a"}), chunk({"content": "b", "reasoning": "c"})]))
    assert exchange.first_reasoning
    assert len(exchange.times) == 2


@pytest.mark.parametrize("texts", ["b\\", '"b', "b\nc"])
def test_a_broken_event_is_never_taken_for_a_known_one(texts: str) -> None:
    first = stream([chunk({"content": "a"})])
    broken = first.replace(b'"content":"a"', b'"content":"%b"' % texts.encode())
    assert read(first + broken + stream(whole(["z"])[1:])).outcome is Outcome.GARBAGE


def test_streams_of_one_server_differ_in_their_ids() -> None:
    raw = stream(whole(["a", 'b"', "c"]))
    for name in (b"c1", b"c2", b'c\\"3', b""):
        exchange = read(raw.replace(b'"id":"c"', b'"id":"%b"' % name))
        assert exchange.outcome is Outcome.OK
        assert (len(exchange.times), exchange.finish) == (3, "stop")


def test_what_stands_before_the_choices_is_never_overlooked() -> None:
    read(stream(whole(["a", "b"])))  # now the shapes are known
    plain = chunk({}, "stop")
    for more in (
        '"error":{"message":"died"},',
        '"usage":{"prompt_tokens":7,"completion_tokens":8},',
    ):
        told = plain.replace('"choices"', f'{more}"choices"', 1)
        exchange = read(stream([*whole(["a"])[:2], told, "[DONE]"]))
        if "error" in more:
            assert exchange.outcome is Outcome.ERROR_IN_STREAM
        else:
            assert exchange.outcome is Outcome.OK
            assert (exchange.prompt_tokens, exchange.completion_tokens) == (7, 8)


def test_fields_of_another_order_are_read_too() -> None:
    payloads = [
        json.dumps(dict(reversed(json.loads(one).items()))) if one[0] == "{" else one
        for one in whole(["a", "b", "c"])
    ]
    exchange = read(stream(payloads))
    assert (exchange.outcome, len(exchange.times)) == (Outcome.OK, 3)
