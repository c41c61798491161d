"""KV blocks and tokens: figures that vLLM printed, and what must hold for any shape."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.sizing import kv
from tools.sizing.architecture import model

GIB = 2**30


@pytest.mark.parametrize(
    ("name", "kind", "gib", "length", "flight", "version", "tokens", "within"),
    [
        ("E2B", "auto", 9.65, 16384, 4096, (0, 28), 1_076_849, 1e-3),
        ("E4B", "auto", 4.10, 32768, 2048, (0, 22), 224_353, 1e-3),
        ("31B", "fp8", 13.3563, 8192, 4096, (0, 22), 48_161, 0),
        ("31B", "fp8", 55.22, 32768, 8192, (0, 19), 120_624, 0),
    ],
)
def test_printed_tokens(name, kind, gib, length, flight, version, tokens, within):
    pool = kv.pool(model(name), kv_type=kind)
    found = kv.capacity(pool, int(gib * GIB), length=length, in_flight=flight, version=version)
    assert found.tokens == pytest.approx(tokens, rel=within)


def test_concurrency_that_was_printed_with_old_tokens():
    pool = kv.pool(model("31B"), kv_type="fp8")
    found = kv.capacity(pool, int(55.22 * GIB), length=32768, in_flight=8192, version=(0, 19))
    assert found.concurrency == pytest.approx(11.57, abs=0.005)


def test_one_request_of_the_mixture_at_full_length():
    pool = kv.pool(model("26B-A4B"))
    assert pool.request_blocks(262144, 4096) * pool.block_bytes / GIB == pytest.approx(
        5.98, abs=0.005
    )


def test_two_batches_in_flight_since_0_26():
    both = {"batched_tokens": 2048, "asynchronous": True}
    assert kv.in_flight_tokens(**both, version=(0, 25)) == 2048
    assert kv.in_flight_tokens(**both, version=(0, 26)) == 4096
    assert kv.in_flight_tokens(2048, asynchronous=False, version=(0, 32)) == 2048


def test_nearly_as_many_layers_are_padded_into_one_group():
    near = kv.pool_of((kv.Spec(12, 16, 1024, 512), kv.Spec(13, 16, 1024)))
    assert (len(near.groups), near.layers_per_group) == (2, 13)
    far = kv.pool_of((kv.Spec(50, 16, 1024, 512), kv.Spec(10, 16, 1024)))
    assert (len(far.groups), far.layers_per_group) == (6, 10)


def test_fp8_halves_a_page_and_scales_break_the_ratio():
    plain, half = kv.pool(model("31B")), kv.pool(model("31B"), kv_type="fp8")
    assert half.block_bytes * 2 == plain.block_bytes
    assert not half.padded
    assert kv.pool(model("31B"), kv_type="fp8_per_token_head").padded


def test_one_kv_head_does_not_shrink_with_ranks():
    assert kv.pool(model("E2B"), tp=4).block_bytes == kv.pool(model("E2B")).block_bytes
    assert kv.pool(model("31B"), tp=4).block_bytes * 4 == kv.pool(model("31B")).block_bytes


@pytest.mark.parametrize(
    ("name", "tp", "kind", "gib", "tokens"),
    [
        ("E2B", 1, "auto", 5.52, 321_376),
        ("E2B", 1, "fp8", 5.52, 321_376),  # one KV head: packed words save nothing
        ("12B", 4, "auto", 22.245, 242_944),
        ("26B-A4B", 1, "auto", 11.32, 53_888),
    ],
)
def test_tpu_tokens(name, tp, kind, gib, tokens):
    found = kv.tpu_capacity(model(name), int(gib * GIB), tp=tp, kv_type=kind, length=16384)
    assert found.tokens == pytest.approx(tokens, rel=2e-3)


def test_fp8_saves_on_a_tpu_with_two_heads():
    bf16 = kv.tpu_token_bytes(model("E4B"))
    assert kv.tpu_token_bytes(model("E4B"), kv_type="fp8") * 2 == bf16


def test_unknown_type():
    with pytest.raises(UsageError, match="is not sized here"):
        kv.kv_type_of("turboquant_4bit_nc")


specs = st.builds(
    kv.Spec,
    layers=st.integers(1, 60),
    block_tokens=st.sampled_from([16, 32]),
    page_bytes=st.sampled_from([1024, 4096, 8192, 8320, 65536]),
    window=st.sampled_from([0, 512, 1024]),
)


@given(st.lists(specs, min_size=1, max_size=2))
def test_every_layer_has_a_place(found):
    pool = kv.pool_of(tuple(found))
    assert pool.layers_per_group * len(pool.groups) >= sum(spec.layers for spec in found)
    assert pool.page_bytes == max(spec.page_bytes for spec in found)


@given(
    st.lists(specs, min_size=1, max_size=2),
    st.integers(0, 2**36),
    st.integers(1, 262144),
    st.sampled_from([2048, 16384]),
)
def test_longest_is_the_longest(found, memory, limit, flight):
    pool = kv.pool_of(tuple(found))
    blocks = memory // pool.block_bytes
    best = kv.longest(pool, memory, limit=limit, in_flight=flight)
    assert 0 <= best <= limit
    assert best == 0 or pool.request_blocks(best, flight) <= blocks
    assert best == limit or pool.request_blocks(best + 1, flight) > blocks


@given(st.integers(1, 262144), st.integers(1, 262144))
def test_a_longer_request_never_takes_fewer_blocks(first, second):
    pool = kv.pool(model("31B"))
    short, long = sorted((first, second))
    assert pool.request_blocks(short, 2048) <= pool.request_blocks(long, 2048)
    # A sliding group stops growing: window and tokens in flight, and one block more.
    most = 5 * (ceil((1023 + 2048) / 16) + 1) + ceil(long / 32)
    assert pool.request_blocks(long, 2048) <= most
