from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tools.load.records import MAX_DETAILS, Outcome, Records
from tools.load.stream import Exchange


def exchange(index: int, offsets: list[int], finish: str = "stop", detail: str = "") -> Exchange:
    one = Exchange(index, 1_000)
    one.sent = 5_000
    one.first_byte = one.done = 9_000
    one.times = [5_000 + offset * 1_000 for offset in offsets]
    one.finish = finish
    one.status = 200
    if detail:
        one.fail(Outcome.CUT, detail)
    return one


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 2**32 - 1), max_size=5), st.sampled_from(["stop", "length"])
        ),
        max_size=8,
    )
)
def test_what_is_packed_is_unpacked(rows: list[tuple[list[int], str]]) -> None:
    records = Records()
    for index, (offsets, finish) in enumerate(rows):
        records.append(exchange(index, offsets, finish))
    again = Records.unpack(records.pack())
    assert list(again) == list(records)
    assert [record.finish for record in again] == [finish for _, finish in rows]
    assert [len(record.chunks) for record in again] == [len(offsets) for offsets, _ in rows]


def test_records_of_two_clients_become_one() -> None:
    first, second = Records(), Records()
    first.append(exchange(0, [1, 2], "stop"))
    second.append(exchange(1, [3], "length"))
    second.append(exchange(2, [], "tool_calls", "after 0 chunks"))
    first.extend(second)
    assert [(r.index, r.finish, len(r.chunks)) for r in first] == [
        (0, "stop", 2),
        (1, "length", 1),
        (2, "tool_calls", 0),
    ]
    assert first.details == [(Outcome.CUT, "after 0 chunks")]


def test_texts_of_failures_are_bounded() -> None:
    records = Records()
    for index in range(MAX_DETAILS + 50):
        records.append(exchange(index, [], detail="x" * 1000))
    assert len(records) == MAX_DETAILS + 50
    assert len(records.details) == MAX_DETAILS
    assert len(records.details[0][1]) == 200


def test_what_a_million_requests_need() -> None:
    records = Records()
    for index in range(100):
        records.append(exchange(index, list(range(16))))
    assert len(records.pack()) / 100 < 160  # bytes, so 160 MB for a million of 16 chunks each
