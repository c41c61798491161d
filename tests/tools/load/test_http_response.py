from __future__ import annotations

import itertools
from collections.abc import Callable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.load.http_response import HttpError, ResponseReader
from tools.load.httptools_response import INSTALLED, HttptoolsReader

Reader = ResponseReader | HttptoolsReader
READERS = [
    ResponseReader,
    pytest.param(
        HttptoolsReader,
        marks=pytest.mark.skipif(not INSTALLED, reason="httptools is not installed"),
    ),
]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(chunks: list[bytes], trailer: bytes = b"") -> bytes:
    parts = [b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]
    return HEAD + b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


def by_h11(raw: bytes) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(places) if b > a]


@pytest.mark.parametrize("make", READERS)
@settings(max_examples=150)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    trailer=st.sampled_from([b"", b"X-Sum: 1\r\n"]),
)
def test_any_cut_gives_what_h11_gives(
    make: Callable[[], Reader], chunks: list[bytes], cuts: list[int], trailer: bytes
) -> None:
    raw = chunked(chunks, trailer)
    reader = make()
    body = b"".join(reader.feed(piece) for piece in pieces(raw, cuts))
    assert (reader.status, body) == by_h11(raw)
    assert reader.complete
    assert reader.keep_alive


@pytest.mark.parametrize("make", READERS)
def test_one_byte_at_a_time(make: Callable[[], Reader]) -> None:
    raw = chunked([b"abc", b"\r\n0\r\n\r\n", b"x" * 300])
    reader = make()
    body = b"".join(reader.feed(raw[i : i + 1]) for i in range(len(raw)))
    assert body == b"abc\r\n0\r\n\r\n" + b"x" * 300
    assert reader.complete


@pytest.mark.parametrize("make", READERS)
def test_a_connection_is_used_again(make: Callable[[], Reader]) -> None:
    reader = make()
    for status in (b"200 OK", b"503 Service Unavailable"):
        reader.reset()
        raw = b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\nok"
        assert reader.feed(raw) == b"ok"
        assert reader.complete
        assert reader.status == int(status[:3])


@pytest.mark.parametrize("make", READERS)
def test_an_interim_response_is_passed_over(make: Callable[[], Reader]) -> None:
    reader = make()
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!"
    assert reader.feed(raw) == b"!"
    assert (reader.status, reader.complete) == (200, True)


@pytest.mark.parametrize("make", READERS)
def test_a_body_without_a_length_ends_with_the_connection(make: Callable[[], Reader]) -> None:
    reader = make()
    assert reader.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab") == b"ab"
    assert not reader.complete
    assert reader.end()


@pytest.mark.parametrize("make", READERS)
def test_a_chunked_body_does_not_end_with_the_connection(make: Callable[[], Reader]) -> None:
    reader = make()
    reader.feed(HEAD + b"5\r\nab")
    assert not reader.end()


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        HEAD + b"zz\r\nab\r\n",
        HEAD + b"2\r\nabc\r\n",
        HEAD + b"-5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab",
        chunked([b"a"]) + b"HTTP/1.1 200 OK\r\n",
    ],
)
@pytest.mark.parametrize("step", [7, 10_000])
def test_what_is_not_http_is_said_to_be_none(
    make: Callable[[], Reader], raw: bytes, step: int
) -> None:
    reader = make()
    with pytest.raises(HttpError):
        for i in range(0, len(raw), step):
            reader.feed(raw[i : i + step])
