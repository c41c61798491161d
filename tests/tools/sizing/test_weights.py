"""Weights against what boots held, and what must hold for any of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.sizing.architecture import model, model_names
from tools.sizing.precision import precision, precision_of_name
from tools.sizing.weights import MIB, Towers, allocated, weights

GIB = 2**30
TEXT = Towers(vision=False, audio=False, wrapper=False)


def held(name, kind, **options):
    options.setdefault("towers", Towers())
    options.setdefault("version", (0, 32))
    return weights(model(name), precision(kind), **options)


@pytest.mark.parametrize(
    ("name", "kind", "options", "gib"),
    [
        ("E2B", "bf16", {"version": (0, 28)}, 9.80),
        ("E4B", "bf16", {"version": (0, 22)}, 15.18),
        ("31B", "bf16", {}, 58.90),
        ("31B", "fp8", {}, 31.49),
        ("31B", "nvfp4", {}, 31.18),
        ("26B-A4B", "bf16", {}, 48.50),
        ("E2B", "bf16", {"platform": "tpu"}, 8.97),
        ("31B", "w4a16", {"towers": TEXT, "platform": "rocm"}, 18.70),
    ],
)
def test_measured(name, kind, options, gib):
    assert held(name, kind, **options).resident / GIB == pytest.approx(gib, rel=0.015)


def test_the_load_peak_is_one_vocabulary_matrix():
    found = held("31B", "w4a16")
    assert found.load_extra == 262144 * 5376 * 2  # the "Tried to allocate 2.62 GiB"
    assert found.load_peak == found.resident + found.load_extra


def test_offload_moves_decoder_layers_only():
    whole = held("31B", "w4a16")
    moved = held("31B", "w4a16", offload=1000 * GIB)
    kept = ("embedding", "norms, router, scalars", "vision", "rotary tables")
    assert moved.resident == sum(whole.part(name) for name in kept)
    # Whole parameters, until the budget is spent: the last one goes over it.
    assert 5 * GIB <= held("31B", "w4a16", offload=5 * GIB).offloaded < 5.13 * GIB


def test_ranks_share_weights_but_not_one_head():
    one, four = held("31B", "bf16"), held("31B", "bf16", tp=4)
    assert one.resident / 4 < four.resident < one.resident / 3.5
    assert four.part("embedding") * 4 == one.part("embedding")


def test_unused_kv_went_with_0_32():
    part = "unused K/V of shared layers"
    assert held("E4B", "bf16", version=(0, 31)).part(part) > 0
    assert held("E4B", "bf16", version=(0, 32)).part(part) == 0
    assert held("31B", "bf16", version=(0, 20)).part(part) == 0


@given(st.integers(0, 4 * GIB))
def test_the_allocator_rounds_up_by_a_megabyte_at_most(size):
    assert size <= allocated(size) <= size + MIB + 512


@given(st.sampled_from(model_names()), st.sampled_from(["bf16", "fp8", "w8a8", "w4a16", "awq4"]))
def test_fewer_bits_never_take_more(name, kind):
    assert held(name, kind).resident <= held(name, "bf16").resident


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("google/gemma-4-12B-it-qat-w4a16-ct", "w4a16"),
        ("google/gemma-4-31B-it", "bf16"),  # the ct of "instruct" is not -ct
        ("x/gemma-4-31B-instruct", "bf16"),
        ("RedHatAI/gemma-4-31B-it-FP8-dynamic", "fp8"),
        ("nvidia/Gemma-4-31B-NVFP4", "nvfp4"),
        ("x/gemma-4-26B-A4B-it-AWQ-4bit", "awq4"),
    ],
)
def test_precision_of_a_name(name, kind):
    assert precision_of_name(name) == kind
