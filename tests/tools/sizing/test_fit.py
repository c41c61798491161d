"""Outcomes, the JSON contract, and what an answer says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.sizing.accelerators import accelerator, accelerator_names
from tools.sizing.architecture import model_names
from tools.sizing.bar import memory_bar, segments
from tools.sizing.fit import fit
from tools.sizing.request import FitRequest

KEYS = {
    "schema", "outcome", "weights_gib", "load_peak_gib", "usable_gib", "overhead_gib", "kv_gib",
    "kv_tokens", "max_concurrency", "blocks", "block_bytes", "decode_tokens_per_s_ceiling",
    "usd_per_hour", "explanation", "advice", "sources",
}  # fmt: skip


def ask(model, card, precision="", *flags, **options):
    return fit(FitRequest(model, card, precision, flags=flags, **options))


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        (("--gpu-memory-utilization", "0.95", "--max-model-len", "4096"), "oom_at_load"),
        (("--gpu-memory-utilization", "0.85"), "oom_at_load"),
        (("--gpu-memory-utilization", "0.95", "--enforce-eager"), "oom_at_load"),
        (("--cpu-offload-gb", "14", "--gpu-memory-utilization", "0.9"), "fits"),
        (("--cpu-offload-gb", "5", "--gpu-memory-utilization", "0.9"), "fits"),
    ],
)
def test_the_31b_on_an_l4(flags, outcome):
    assert ask("31B", "L4", "w4a16", *flags).outcome == outcome


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (FitRequest("31B", "RTX 5090", "nvfp4"), "oom_at_load"),
        (FitRequest("26B-A4B", "L4", "bf16"), "oom_at_load"),
        (
            FitRequest("26B-A4B", "RTX3090", "awq4", flags=("--max-model-len", "262144")),
            "max_model_len_too_long",
        ),
        (FitRequest("12B", "A100-40", "bf16", flags=("--kv-cache-dtype", "fp8")), "unsupported"),
        (FitRequest("12B", "L4", "w4a16", flags=("--kv-cache-dtype", "nvfp4")), "unsupported"),
        (FitRequest("26B-A4B", "A100-80", "nf4", vllm_version="0.22"), "unsupported"),
        (FitRequest("12B", "L4", "nf4"), "unsupported"),  # 0.32 has no bitsandbytes
        (FitRequest("12B", "L4", "nf4", vllm_version="0.22"), "fits"),
        (FitRequest("31B", "v6e", "fp8", count=4), "unsupported"),
        (FitRequest("E2B", "L4", flags=("--gpu-memory-utilization", "1")), "unsupported"),
        (FitRequest("12B", "v6e", count=4), "fits"),
    ],
)
def test_outcomes(request_, outcome):
    assert fit(request_).outcome == outcome


def test_the_contract():
    data = ask("E2B", "L4").to_json()
    assert set(data) >= KEYS
    assert data["schema"] == 1
    assert set(data["overhead_gib"]) == set(data["kv_gib"]) == {"low", "expected", "high"}


def test_advice_is_computed_and_says_what_is_useless():
    found = ask("31B", "L4", "w4a16", "--max-model-len", "4096").advice
    helps = [one.change for one in found if one.outcome == "fits"]
    useless = {one.change for one in found if one.outcome != "fits"}
    assert any("--cpu-offload-gb" in change for change in helps)
    assert any("--tensor-parallel-size 2" in change for change in helps)
    assert {"--gpu-memory-utilization", "--max-model-len", "--enforce-eager"} <= useless
    assert not any("utilization" in change for change in helps)


def test_too_long_advice_fits_when_tried():
    long = ask(
        "26B-A4B", "L4", "w4a16", "--max-model-len", "262144", "--max-num-batched-tokens", "8192"
    )
    assert long.outcome == "max_model_len_too_long"
    shorter = next(one for one in long.advice if one.change.startswith("--max-model-len"))
    again = ask(
        "26B-A4B", "L4", "w4a16", *shorter.change.split(), "--max-num-batched-tokens", "8192"
    )
    assert again.fits


def test_kv_given_checks_the_tokens_alone():
    found = ask("31B", "L40S", "awq4", "--max-model-len", "8192", kv_gib=19.0, vllm_version="0.25")
    assert found.fits
    assert found.capacity.tokens == pytest.approx(46_894, rel=0.004)


def test_no_length_is_auto_and_says_so():
    found = ask("31B", "L4", "w4a16", "--cpu-offload-gb", "5")
    assert 512 < found.length < 262144
    assert any("vLLM would take 262,144 and refuse" in line for line in found.explanation)
    assert found.advice[0].change.startswith("--max-model-len")


def test_a_batch_below_one_video_is_refused_and_the_default_raised():
    assert ask("31B", "A100-80", "w4a16").plan.batched_tokens == 2496
    small = ask("31B", "A100-80", "w4a16", "--max-num-batched-tokens", "2048")
    assert small.outcome == "unsupported"
    text = ask(
        "31B", "A100-80", "w4a16", "--max-num-batched-tokens", "2048", "--language-model-only"
    )
    assert text.fits


def test_a_cold_start_has_a_wider_band():
    warm = fit(FitRequest("E2B", "L4"))
    cold = fit(FitRequest("E2B", "L4", cold=True))
    assert cold.memory.kv.low < warm.memory.kv.low
    assert any("cold" in line for line in cold.explanation)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": ""}, "No model"),
        ({"accelerator": "L5"}, "Did you mean L4"),
        ({"precision": "w4a61"}, "Did you mean w4a16"),
        ({"count": -1}, "--count -1"),
        ({"count": 3}, "query heads"),
        ({"kv_gib": -2.0}, "--kv-gib"),
        ({"kv_gib": float("nan")}, "--kv-gib"),
        ({"vllm_version": "latest"}, "is no vLLM version"),
        ({"flags": ("--max-model-len", "0")}, "--max-model-len"),
        ({"flags": ("--max-model-len", "999999")}, "above the model's"),
        ({"flags": ("--gpu-memory-utilization", "95")}, "fraction"),
        ({"flags": ("--gpu-memory-utilization", "nan")}, "fraction"),
        ({"flags": ("-tp", "4"), "count": 2}, "needs 4 devices"),
        ({"flags": ("--cpu-offload-gb", "-1")}, "--cpu-offload-gb"),
        ({"flags": ("-pp", "2")}, "Pipeline"),
        ({"accelerator": "v6e", "count": 2}, "is not sold with 2 chips"),
    ],
)
def test_bad_input(values, said):
    with pytest.raises(UsageError, match=said):
        fit(FitRequest(**({"model": "12B", "accelerator": "L4"} | values)))


requests = st.builds(
    FitRequest,
    model=st.sampled_from(model_names()),
    accelerator=st.sampled_from([name for name in accelerator_names() if name != "TPU7x"]),
    precision=st.sampled_from(["bf16", "fp8", "w8a8", "w4a16", "awq4", "nvfp4", "nf4"]),
    vllm_version=st.sampled_from(["0.19", "0.22.1", "0.25", "0.26", "v0.31.1rc1", "0.32.0"]),
    flags=st.tuples(
        st.just("--gpu-memory-utilization"),
        st.floats(0.05, 0.97).map(str),
        st.just("--max-num-seqs"),
        st.integers(1, 1024).map(str),
    ),
)


@given(requests)
@settings(max_examples=150, deadline=None)
def test_any_request_is_consistent(request_):
    try:
        found = fit(request_, advise=False)
    except UsageError:
        return
    data = found.to_json()
    card = accelerator(request_.accelerator).usable_gib
    band = data["kv_gib"]
    assert 0 <= band["low"] <= band["expected"] <= band["high"]
    assert (band["high"] - band["low"]) / 2 <= 0.12 * card + 0.001
    assert data["load_peak_gib"] >= data["weights_gib"] > 0
    if found.fits:
        assert data["kv_tokens"] > 0
        assert data["max_concurrency"] >= 1
        assert data["weights_gib"] + band["expected"] <= card
    for width in (10, 60, 200):
        bar = memory_bar(found, width).splitlines()[0]
        assert bar.index("]") == width + 1
    assert all(size >= 0 for _, size in segments(found))
